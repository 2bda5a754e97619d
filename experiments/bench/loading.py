"""How long until a checkpoint can predict.  python -m experiments.bench.loading [WORKDIR ...]

Seconds beyond `import jax` of importing the predictor, and of `Predictor.load` of each WORKDIR; without one, of
checkpoints of step 0 with the backbones tiny and mobile, made in a temporary folder. Each is measured in processes of
its own, the fastest of five counts: what else the machine does only ever adds. Prints Markdown; keep it with
`> experiments/results/bench_loading.md`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from experiments.bench.benchmark import machine, versions
from experiments.bench.ours import RATINGS, cached
from mtp.config import get_config
from mtp.data.identity import sha256_of
from mtp.inference.predictor import TRAINED, Predictor
from mtp.runtime.checkpoint import Checkpoints

ROUNDS, LIMIT = 5, 3.0  # seconds of both together
MEASURED = """
import sys, time
from pathlib import Path
times = [time.perf_counter()]
def lap():
    times.append(time.perf_counter())
import jax
lap()
import mtp.inference.predictor
lap()
mtp.inference.predictor.Predictor.load(Path(sys.argv[1]))
lap()
print(*(later - earlier for earlier, later in zip(times, times[1:])))
"""


def untrained(folder: Path, backbone: str, trained: Sequence[int] = ()) -> Path:
    """A workdir with a checkpoint of step 0; trained: `picture_hashes` of what it says it was trained on."""
    config, workdir = get_config(), folder / backbone
    config.model.backbone = backbone
    predictor, hashes = Predictor.untrained(config, RATINGS), np.array(trained, np.uint64)
    meta = {
        "config": json.loads(config.to_json()),
        "facts": predictor.facts.to_json(),
        "training_pictures_sha256": sha256_of(hashes),
    }
    checkpoints = Checkpoints(workdir / "checkpoints")
    checkpoints.save(0, predictor.variables, {}, meta)
    checkpoints.close()
    np.save(workdir / TRAINED, hashes)
    return workdir


def measured(workdir: Path) -> np.ndarray:
    """Seconds of importing jax, of importing the predictor and of loading, in the fastest round of the last two."""
    command = [sys.executable, "-c", MEASURED, str(workdir)]
    rounds = [
        [float(s) for s in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]
        for _ in range(ROUNDS)
    ]
    return np.array(min(rounds, key=lambda seconds: sum(seconds[1:])))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        given = [Path(argument) for argument in sys.argv[1:]]
        if not given:
            cached()
            given = [untrained(Path(scratch), backbone) for backbone in ("tiny", "mobile")]
        there = ", ".join(f"{name} {version}" for name, version in versions().items() if version != "absent")
        print("# From nothing to a network that can predict\n")
        print(f"`python -m experiments.bench.loading`, {date.today()}, {machine()}; {there}\n")
        print("| workdir | import jax, s | import the predictor, s | load, s | beyond jax, s | target |")
        print("| --- | --- | --- | --- | --- | --- |")
        for workdir in given:
            jax, predictor, load = measured(workdir)
            both = predictor + load
            print(
                f"| {workdir.name} | {jax:.2f} | {predictor:.2f} | {load:.2f} | {both:.2f} | <= {LIMIT:g} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
