"""What the TPU compiler makes of the training step, on a machine without a TPU.

    pip install "jax[tpu]"
    python -m experiments.bench.tpu_compile [--only=TEXT] [--minutes=15]

The compiler takes a description of chips (four of a v5e) in place of chips. A line a case: seconds, the bytes of a
chip's memory that arguments and temporaries take, the size of the code, and how many reductions over chips there are.
Each case has a process and a time of its own, and is kept in results/bench_tpu_compile.json at once; --only: the cases
whose name holds the text. The table is results/tpu_compile.md.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no machine to ask about its chips
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from experiments.bench import abstract
from experiments.bench.benchmark import RESULTS, machine
from mtp.config import get_config
from mtp.runtime.mesh import replicated

TOPOLOGY = "v5e:2x2"
FILE, PAGE = RESULTS / "bench_tpu_compile.json", RESULTS / "tpu_compile.md"
PACKAGES = ("jax", "jaxlib", "libtpu", "flax")


@dataclasses.dataclass(frozen=True)
class Case:
    """pictures: of a chip; bfloat16, all columns and tasks."""

    backbone: str
    height: int
    width: int
    pictures: int
    remat: bool = False

    @property
    def name(self) -> str:
        kept = ", remat" if self.remat else ""
        return f"{self.backbone}, {self.pictures} of {self.height}x{self.width} a chip{kept}"


CASES = (
    Case("tiny", 224, 336, 32),
    Case("lite0", 224, 336, 32),
    *(Case("mobile", *size, 32) for size in ((224, 336), (336, 224), (224, 224))),
    *(Case(b, 224, 336, n, r) for b in ("mobile", "large") for n in (32, 128, 256) for r in (False, True)),
)


def measured(case: Case) -> dict[str, Any]:
    """Compile the gradients' program of a step."""
    described: Any = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY)
    mesh = Mesh(np.array(described.devices), ("data",), axis_types=(AxisType.Auto,))
    config = get_config()
    config.model.backbone, config.model.dtype, config.model.remat = case.backbone, "bfloat16", case.remat
    config.input.batch_size = case.pictures * mesh.size
    model, step, state = abstract.training(config)
    arguments = abstract.on(mesh, state, abstract.batch(config, model, (case.height, case.width)))
    begun = time.perf_counter()
    lowered = jax.jit(step.gradients, out_shardings=replicated(mesh)).lower(*arguments)
    traced = time.perf_counter()
    program = lowered.compile()
    compiled = time.perf_counter()
    memory: Any = program.memory_analysis()
    text = program.as_text()
    assert text
    return {
        "trace_s": traced - begun,
        "compile_s": compiled - traced,
        "arguments": int(memory.argument_size_in_bytes),
        "temporaries": int(memory.temp_size_in_bytes),
        "code": int(memory.generated_code_size_in_bytes),
        "reductions": len(re.findall(r" all-reduce(?:-start)?\(", text)),
        "fusions": len(re.findall(r" fusion\(", text)),
    }


def kept() -> dict[str, Any]:
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def keep(case: Case, found: dict[str, Any]) -> None:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    facts = {"date": str(date.today()), "machine": machine(), "versions": versions}
    FILE.write_text(json.dumps(kept() | {case.name: facts | found}, indent=1) + "\n")


def in_its_own_process(case: Case, minutes: float) -> dict[str, Any]:
    """`measured`, or what ended it."""
    command = [sys.executable, "-m", "experiments.bench.tpu_compile", f"--case={case.name}"]
    try:
        done = subprocess.run(command, timeout=60 * minutes, check=False, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return {"ended": f"not compiled after {minutes:g} minutes"}
    if done.returncode:
        return {"ended": _reason(done.stderr)}
    return json.loads(done.stdout.splitlines()[-1])


def _reason(errors: str) -> str:
    """The line that says what failed: such as that a chip's memory does not hold the program."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return next(
        (line for line in lines if "RESOURCE_EXHAUSTED" in line), lines[-1] if lines else "it failed"
    )[:300]


def page() -> str:
    head = ("case", "compiling", "temporaries", "arguments", "code", "reductions", "fusions")
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    facts = set()
    for name, found in kept().items():
        versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
        facts.add(f"- {found['date']}, {found['machine']}; {versions}")
        if "ended" in found:
            cells = [found["ended"], *[""] * 5]
        else:
            gigabytes = (f"{found[key] / 1e9:.2f} GB" for key in ("temporaries", "arguments"))
            cells = [f"{found['compile_s']:.0f} s", *gigabytes, f"{found['code'] / 1e6:.0f} MB",
                     str(found["reductions"]), str(found["fusions"])]  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return (
        "# The TPU compiler, without a TPU\n\nMade by `python -m experiments.bench.tpu_compile`: the gradients' "
        "program of a training step in bfloat16, all columns and tasks, for chips of "
        f"{TOPOLOGY}. Bytes are a chip's.\n\n" + "\n".join(lines) + "\n\n" + "\n".join(sorted(facts)) + "\n"
    )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="")
    parser.add_argument("--minutes", type=float, default=15.0, help="of a case")
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    cases = {case.name: case for case in CASES}
    if given.case:
        print(json.dumps(measured(cases[given.case])))
        return
    for case in (case for case in cases.values() if given.only in case.name):
        found = in_its_own_process(case, given.minutes)
        keep(case, found)
        print(f"{case.name}: {found}", flush=True)
        PAGE.write_text(page())


if __name__ == "__main__":
    main(sys.argv[1:])
