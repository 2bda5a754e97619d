"""Where the time of the trunk goes, by kind of operation.  python -m experiments.bench.profile_steps

Forward pass and gradients of NASNet-A Mobile with a linear head, eight pictures of 224x224, on the plain path and with
the native kernels, traced by jax.profiler. An operation's milliseconds are those of the thread that runs it; what other
threads do for it meanwhile is not traced, so the processor's milliseconds, of all threads, stand beside. Set
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 as the benchmarks do. Prints Markdown.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gzip
import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.bench import ours
from experiments.bench.benchmark import Missing, machine
from mtp.config import Config
from mtp.data.batches.sizes import Shape
from mtp.inference.predictor import Predictor
from mtp.runtime import settings
from mtp.runtime.settings import compiler_options

SIZE, BATCH, ROUNDS = (224, 224), 8, 5
# the first that fits an operation's name and path of modules counts
KINDS = {
    "matrix products": r"dot_general",
    "batch norm": r"bn_|bn1",
    "separable convolutions, less the products above": r"separable_conv",
    "projections, less the products above": r"(normal|reduction)_conv_1|adjust_conv",
    "factorised reduction": r"adjust|FactorisedReduction",
    "stem": r"stem_conv1",
    "sums, pools, concatenations": r"cell_",
}


def compiled(predictor: Predictor, size: Shape, *, training: bool) -> tuple[Any, Callable[[], Any]]:
    """A program for input.batch_size pictures of one size, and a run of it to the end."""
    jitted: Any
    if training:
        step, state = ours.training_step(predictor)
        jitted = jax.jit(step.gradients, compiler_options=compiler_options())
        arguments = state, ours.training_batch(predictor, size)
    else:
        jitted = predictor.programs.probabilities
        batch = ours.batch_of(predictor, size, predictor.config.input.batch_size)
        arguments = predictor.variables, batch
    arguments = jax.device_put(arguments)
    program = jitted.lower(*arguments).compile()
    return program, lambda: jax.block_until_ready(program(*arguments))


def described(program: Any) -> dict[str, str]:
    """What `KINDS` looks at, for each operation of a program."""
    found = {}
    for line in program.as_text().splitlines():
        if name := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = ", line):
            path = re.search(r'op_name="([^"]*)"', line)
            found[name[1]] = f"{name[1]} {path[1] if path else ''}"
    return found


def kind(description: str) -> str:
    fitting = (name for name, pattern in KINDS.items() if re.search(pattern, description))
    return next(fitting, "the rest")


class Profile(NamedTuple):
    """Milliseconds of a run by the clock and of the processor, and of each kind; how many operations a kind has."""

    clock: float
    processor: float
    milliseconds: dict[str, float]
    numbers: dict[str, float]


def traced(program: Any, run: Callable[[], Any]) -> Profile:
    names, spent = described(program), []
    milliseconds: dict[str, float] = defaultdict(float)
    numbers: dict[str, float] = defaultdict(float)
    for _ in range(ROUNDS):
        start = time.perf_counter(), time.process_time()
        run()
        spent.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    with tempfile.TemporaryDirectory() as scratch:
        options = jax.profiler.ProfileOptions()
        options.host_tracer_level, options.python_tracer_level = 2, 0
        with jax.profiler.trace(scratch, profiler_options=options):
            for _ in range(ROUNDS):
                run()
        (file,) = Path(scratch).rglob("*.trace.json.gz")
        with gzip.open(file) as stream:
            events = json.load(stream)["traceEvents"]
    for event in events:
        operation = event.get("args", {}).get("hlo_op")
        if event.get("ph") == "X" and operation:
            what = kind(names.get(operation, ""))
            milliseconds[what] += event["dur"] / 1000 / ROUNDS
            numbers[what] += 1 / ROUNDS
    clock, processor = (1000 * statistics.median(times) for times in zip(*spent, strict=True))
    return Profile(clock, processor, milliseconds, numbers)


def _configured(native: bool) -> Config:
    c = ours.trunk_and_linear_head(native)
    c.input.batch_size = BATCH
    return c


def main() -> None:
    settings.keep_freed_memory()
    print(
        f"# Where the time goes\n\n`python -m experiments.bench.profile_steps`, {date.today()}, {machine()}\n"
    )
    for training in (False, True):
        for path, native in ours.PATHS.items():
            what = f"{'gradients' if training else 'forward pass'}, {BATCH} of {SIZE[0]}x{SIZE[1]}, {path}"
            try:
                predictor = ours.predictor(_configured(native))
                clock, processor, milliseconds, numbers = traced(
                    *compiled(predictor, SIZE, training=training)
                )
            except Missing as error:
                print(f"## {what}\n\nskipped: {error}\n")
                continue
            total = sum(milliseconds.values())
            print(f"## {what}\n\n{clock:.0f} ms by the clock, {processor:.0f} of the processor\n")
            print("| kind | ms | share | operations |\n| --- | --- | --- | --- |")
            for name, spent in sorted(milliseconds.items(), key=lambda item: -item[1]):
                print(f"| {name} | {spent:.1f} | {100 * spent / total:.0f} % | {numbers[name]:.0f} |")
            print()


if __name__ == "__main__":
    main()
