"""All speed targets in one table.  python -m experiments.bench.all [--only=forward,mixed]

Each part may also run alone; the table is made of all parts' latest results in experiments/results/, each with its
date, and goes to results/bench.md. Compiled PyTorch's training step, `train_compiled`, takes minutes a program.
"""

import argparse
import functools

from experiments.bench import compile as bench_compile
from experiments.bench import cost as bench_cost
from experiments.bench import forward as bench_forward
from experiments.bench import input as bench_input
from experiments.bench import lite as bench_lite
from experiments.bench import memory as bench_memory
from experiments.bench import mixed as bench_mixed
from experiments.bench import train as bench_train
from experiments.bench.benchmark import RESULTS, page, report

PARTS = {
    "forward": bench_forward.rows,
    "mixed": bench_mixed.rows,
    "train": bench_train.rows,
    "train_compiled": functools.partial(bench_train.rows, compiled=True),
    "compile": bench_compile.rows,
    "input": bench_input.rows,
    "memory": bench_memory.rows,
    "cost": bench_cost.rows,
    "lite": bench_lite.rows,
}


def table() -> str:
    """The parts' latest results as one page."""
    return page(
        "# Speed against the targets\n\n"
        "Made by `python -m experiments.bench.all`. Ours and a peer take turns of half a second and more, in a process "
        "each; *measured* is the median of the pairs' ratios with the smallest and the largest, above 1 where ours is "
        "faster.",
        [RESULTS / f"bench_{part}.json" for part in PARTS],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="All speed targets in one table.")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {', '.join(PARTS)}")
    chosen = parser.parse_args().only.split(",")
    unknown = set(chosen) - set(PARTS)
    if unknown:
        parser.error(f"--only takes {', '.join(PARTS)}; {', '.join(sorted(unknown))} is none of them")
    for part in chosen:
        report(part, PARTS[part]())
    text = table()
    (RESULTS / "bench.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
