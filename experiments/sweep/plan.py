"""What a sweep is, and the jobs that it has."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mtp.config import OPTIONS

REFERENCES = ("uniform", "mean histogram", "vote noise")  # rows that every table has
# each row is a folder of this name
ROW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.,+=-]{0,99}(?<![ .])")
OF_THE_JOB = ("seed", "data.folds", "data.fold")  # options that the sweep sets itself


class SweepError(ValueError):
    """A sweep cannot be made, or a job of it; the message says what must hold, what came, how to fix it."""


class Row(NamedTuple):
    """config: FILE.py or FILE.py:PRESET, as --config of mtp.main; options: changes of it, by dotted name."""

    config: str
    options: Mapping[str, Any] = {}


class Sweep(NamedTuple):
    """Rows by name, each trained with every seed; a text stands for a `Row` of this configuration.

    folds: 0, or K of at least 3: each row and seed has K jobs, whose test folds are pooled. options: of all rows, which
    a row's own go before. compared_with: the row, or reference row, that every row's `claim` is a difference to; claim:
    a metric with a value for each picture. comparisons: further pairs of rows, of which the first one's difference to
    the second one is claimed. All three are chosen before the first job runs.
    """

    rows: Mapping[str, str | Row]
    seeds: Sequence[int] = (0, 1, 2)
    folds: int = 0
    options: Mapping[str, Any] = {}
    compared_with: str = "mean histogram"
    claim: str = "emd_r2"
    comparisons: Sequence[tuple[str, str]] = ()


@dataclasses.dataclass(frozen=True)
class Job:
    """One training. options: all that differs from the configuration file, the seed and the fold among it."""

    index: int
    row: str
    seed: int
    fold: int | None
    config: str
    options: Mapping[str, Any] = dataclasses.field(hash=False)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.row}, seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")

    @property
    def folder(self) -> str:
        """Of its files, relative to the sweep's jobs or results."""
        return f"{self.row}/seed{self.seed}" + ("" if self.fold is None else f"-fold{self.fold}")

    @property
    def arguments(self) -> list[str]:
        """What mtp.main is told, without the workdir."""
        return [f"--config={self.config}", *itertools.starmap(argument, self.options.items())]


def argument(option: str, value: Any) -> str:
    """As a command line has it; a tuple of words without what a shell would take for its own."""
    if isinstance(value, tuple) and all(isinstance(entry, str) for entry in value):
        words = ",".join(value)
        if option in OPTIONS and OPTIONS[option].kind.read(words) == value:
            return f"--config.{option}={words}"
    return f"--config.{option}={value}"


def row(given: str | Row) -> Row:
    """A row as the file gives it."""
    return Row(given) if isinstance(given, str) else given


def jobs(sweep: Sweep, given: Mapping[str, Any]) -> list[Job]:
    """All jobs in order: the first seed of every row, then the next. given: options of the command line.

    Errors: SweepError where the command line sets what a row sets otherwise.
    """
    for name, each in sweep.rows.items():
        _refuse_other(name, row(each), given)
    return [Job(index, *each) for index, each in enumerate(_each(sweep, given))]


def _each(
    sweep: Sweep, given: Mapping[str, Any]
) -> Iterator[tuple[str, int, int | None, str, dict[str, Any]]]:
    for seed in sweep.seeds:
        for name, each in sweep.rows.items():
            config, options = row(each)
            shared = {**sweep.options, **given, **options, "seed": seed}
            for fold in range(sweep.folds):
                yield name, seed, fold, config, {**shared, "data.folds": sweep.folds, "data.fold": fold}
            if not sweep.folds:
                yield name, seed, None, config, shared


def _refuse_other(name: str, of_row: Row, given: Mapping[str, Any]) -> None:
    for option, value in of_row.options.items():
        if option in given and given[option] != value:
            raise SweepError(
                f"--config.{option}={given[option]} cannot be, since the row {name!r} sets {option}={value}; leave it "
                "out, or change the row"
            )
