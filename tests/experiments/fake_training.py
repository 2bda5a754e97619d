"""python -m tests.experiments.fake_training ARGUMENTS: leaves what mtp.main leaves, at once and from no pictures.

Files in data.dir say what it does, where their name ends in the row's eval.size and its seed (fail-native-0): fail: an
error, also where it ends in optim.heads_rate; nan: predictions that are no numbers; wait: nothing until that file is
gone. `version` holds the libraries'.
"""

import csv
import hashlib
import json
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from mtp.config import configured, flat, overrides, read_file
from mtp.files import write_json
from mtp.processes import lock

K, PICTURES = 5, 40


def main(arguments: list[str]) -> None:
    rest, given = overrides.split(arguments)
    said = dict(argument.removeprefix("--").split("=", 1) for argument in rest)
    config = configured({**flat(read_file(said["config"])), **given})
    workdir, marks = Path(said["workdir"]), Path(config.data.dir)
    key = f"{config.eval.size}-{config.seed}"
    workdir.mkdir(parents=True, exist_ok=True)
    with lock.alone(workdir / lock.NAME):
        (workdir / "starts").open("a").write("x")
        wait(marks / f"wait-{key}")
        if (marks / f"fail-{key}").exists() or (marks / f"fail-{config.optim.heads_rate:g}").exists():
            print("Traceback\n  a line of it\nerror: the disk is too small\n", file=sys.stderr)
            sys.exit(3)
        write(workdir, config, nan=(marks / f"nan-{key}").exists())
        if config.eval.split == "validation":
            score(workdir, config.optim.heads_rate)


def wait(mark: Path) -> None:
    """As a training does: SIGTERM ends it, with a line."""

    def end(number, _):
        print("stopped by SIGTERM; the state of step 3 is saved", file=sys.stderr, flush=True)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    if mark.exists():
        print("step 3/9, loss 0.5, 12.5 pictures/s, waited for data 0.0 s, 00:07 left", flush=True)
    while mark.exists():
        time.sleep(0.02)


def score(workdir: Path, rate: float) -> None:
    """Of two checkpoints, the best one's highest at a rate of .001."""
    from mtp.runtime.checkpoint import Checkpoints  # imports jax

    with closing(Checkpoints(workdir / "checkpoints")) as checkpoints:
        for step, more in ((3, 0.0), (9, -1.0)):
            checkpoints.save(step, {}, {}, {}, rated=True)
            checkpoints.rate(step, more - (np.log10(rate) + 3) ** 2)


def write(workdir: Path, config, *, nan: bool) -> None:
    """Predictions near the truth, nearer at native size, with noise of the seed."""
    fold = config.data.fold if config.data.folds else 9
    rng = np.random.default_rng(fold)
    truth = rng.dirichlet(np.ones(K) * 3, PICTURES)
    votes = np.array([rng.multinomial(50, row) for row in truth])
    noise = np.random.default_rng([config.seed, fold]).dirichlet(np.ones(K), PICTURES)
    share = 0.2 if config.eval.size == "native" else 0.5
    predicted = (1 - share) * votes / 50 + share * noise
    if nan:
        predicted[3, 1] = np.nan
    if "distribution" not in config.model.tasks:
        predicted[:] = np.nan
    names = [f"{fold}-{i:02d}.jpg" for i in range(PICTURES)]
    header = ["image", "votes", *(f"truth_{k + 1}" for k in range(K)), *(f"pred_{k + 1}" for k in range(K))]
    header += ["truth_mean", "p_high", config.data.group]
    with (workdir / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for i, name in enumerate(names):
            row = [f"{value:.9g}" for value in votes[i] / 50]
            row += ["" if np.isnan(value) else f"{value:.9g}" for value in predicted[i].astype(np.float32)]
            group = "" if i == 7 else f"theme{i // 2}"
            writer.writerow([name, 50, *row, votes[i] @ range(1, K + 1) / 50, 0.5 + i / 100, group])
    mean = np.random.default_rng(fold + 100).dirichlet(np.ones(K) * 20)
    version = Path(config.data.dir, "version")
    write_json(workdir / "results.json", {
        "split": {"name": "test", "sha256": hashlib.sha256("".join(names).encode()).hexdigest(), "pictures": PICTURES},
        "rows": [], "seed": config.seed, "step": 9, "finished": True, "mean_histogram": mean.tolist(),
        "bootstrap": config.eval.bootstrap, "groups": 20, "pkl_floor": config.eval.pkl_floor, "threshold": 3.0,
        "delta": 0.5, "eval_size": config.eval.size, "config": json.loads(config.to_json()), "weights": {},
        "versions": {"jax": version.read_text() if version.exists() else "1"},
    })  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
