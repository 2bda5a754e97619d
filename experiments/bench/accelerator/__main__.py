"""Exactness and speed on a GPU or TPU, beside PyTorch on the same card.

    python -m experiments.bench.accelerator --part=NAME [--out=DIR] [--photographs=FOLDER] [--trial]
    python -m experiments.bench.accelerator --table [--out=DIR]

Each part takes some minutes, and leaves what it has measured in DIR/accelerator_NAME.json after every row, so that one
that is cut off loses a row; --table makes DIR/accelerator.md of all of them. --trial runs a part on any device, small,
to see that it runs: its numbers mean nothing, and are not kept.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

# memory is taken as it is needed: PyTorch's runs on the same card
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from experiments.bench.accelerator import card, exactness, mixed, operations, runs, steps
from experiments.bench.benchmark import RESULTS, Row, keep, machine, markdown, page
from mtp.data.batches.sizes import Shape

PREFIX = "accelerator_"
SMALL: tuple[tuple[Shape, ...], int] = (((64, 96),), 4)  # of a trial: sizes and batch
TRIAL_RUN = {"data.demo_pictures": 60, "train.epochs": 8.0, "run.native": "off"}


@dataclasses.dataclass(frozen=True)
class Options:
    """Of a part. trial: small, on whatever device there is."""

    trial: bool
    photographs: str

    @property
    def device(self) -> str:
        """PyTorch's."""
        return "cpu" if self.trial else "cuda"


Part = Callable[[Options], Iterator[Row]]


def _exactness(backbone: str) -> Part:
    return lambda o: exactness.rows(backbone, exactness.SIZES[4:6] if o.trial else exactness.SIZES)


def _steps(backbone: str, numbers: str, *, compiled: bool = False) -> Part:
    def rows(o: Options) -> Iterator[Row]:
        sizes, batch = SMALL if o.trial else (steps.SIZES, steps.BATCH)
        return steps.rows(backbone, numbers, compiled=compiled, sizes=sizes, batch=batch, device=o.device)

    return rows


def _mixed(backbone: str, numbers: str) -> Part:
    return lambda o: mixed.rows(backbone, numbers, o.device, 6 if o.trial else 200)


def _operations(backbone: str) -> Part:
    def rows(o: Options) -> Iterator[Row]:
        sizes, batch = SMALL if o.trial else (steps.SIZES, steps.BATCH)
        return operations.rows(backbone, "bfloat16", sizes[0], batch)

    return rows


def _photographs(o: Options) -> Iterator[Row]:
    if not o.photographs:
        sys.exit("error: this part needs --photographs=FOLDER, with votes.csv")
    return runs.photographs(o.photographs)


PARTS: dict[str, Part] = {
    "mobile": _steps("mobile", "bfloat16"),
    "exactness": _exactness("mobile"),
    "exactness_lite0": _exactness("lite0"),
    "exactness_large": _exactness("large"),
    "mobile_compiled": _steps("mobile", "bfloat16", compiled=True),
    "mixed": _mixed("mobile", "bfloat16"),
    "mixed_lite0": _mixed("lite0", "bfloat16"),
    "operations": _operations("mobile"),
    "operations_lite0": _operations("lite0"),
    "runs": lambda o: runs.rows(TRIAL_RUN if o.trial else {}),
    "photographs": _photographs,
    "lite0": _steps("lite0", "bfloat16"),
    "large": _steps("large", "bfloat16"),
    "mobile_tf32": _steps("mobile", "tf32"),
    "mobile_float32": _steps("mobile", "float32"),
    "lite0_float32": _steps("lite0", "float32"),
}


def kept(part: str, rows: Sequence[Row], out: Path) -> None:
    keep(out / f"{PREFIX}{part}.json", part, rows, f"{card.name()}, {machine()}")


def table(out: Path) -> str:
    """All parts that are there as one page."""
    return page(
        "# On a GPU or TPU\n\nMade by `python -m experiments.bench.accelerator`. Ours and a peer take turns of half a "
        "second and more, in a process each; *measured* is the median of the pairs' ratios with the smallest and the "
        "largest, above 1 where ours is faster.",
        [out / f"{PREFIX}{part}.json" for part in PARTS],
    )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--photographs", default="")
    parser.add_argument("--trial", action="store_true")
    given = parser.parse_args(arguments)
    if given.table:
        (given.out / "accelerator.md").write_text(table(given.out))
        return
    if not given.part:
        parser.error(f"--part must be one of {', '.join(PARTS)}")
    if not given.trial and jax.default_backend() == "cpu":
        sys.exit(
            'error: jax sees no GPU or TPU here; install "jax[cuda13]" or "jax[tpu]", or try the part by --trial'
        )
    rows: list[Row] = []
    for row in PARTS[given.part](Options(given.trial, given.photographs)):
        rows.append(row)
        print(markdown([row]).splitlines()[-1], flush=True)
        if not given.trial:
            kept(given.part, rows, given.out)


if __name__ == "__main__":
    main(sys.argv[1:])
