"""Cross-validation of a folder: does a model beat the mean histogram on pictures of groups that it never saw?

    python -m experiments.cross_validation FOLDER [--group=COLUMN] [--rows=frozen,scratch] [--folds=5]

Trains each row on each fold, pools the test folds (every picture once, predicted by a model that saw none of its
group), and prints the paired difference of emd_r2 per picture, model minus mean histogram of that fold's training
pictures, with a 95 % interval that resamples whole groups, and the rank correlation of the means; then the same
difference of each row to the first one. Negative is better. Each fold is told on the standard error. Workdirs:
runs/folds/FOLDER/ROW-0 and so on; finished ones are kept, so that it goes on where it was. The row `learners` stands
for Table 1's learners, a line each, on lite0's last map; their settings are chosen on the fold's validation split
(`configs/ldl/table1.py`), so that they are fitted to a fifth less than the features' rows.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from configs.ldl import table1
from experiments.command_line import finish
from experiments.tables import features, table1_fits
from mtp.config import Config, configured, flat, get_config
from mtp.data.load import load
from mtp.evaluation.distances import emd
from mtp.evaluation.intervals import paired_difference
from mtp.evaluation.statistics import moments
from mtp.processes import ending
from mtp.ratings import histograms


class Row(NamedTuple):
    """config: an experiment's file, with its preset where it has some; options: changes of it."""

    config: str
    options: Mapping[str, Any] = {}


VOTES, SCRATCH = "configs/votes.py", "configs/votes_scratch.py"
ROWS = {
    "frozen": Row(VOTES),
    "lite0": Row(VOTES, {"model.backbone": "lite0"}),
    "lite2": Row(VOTES, {"model.backbone": "lite2"}),
    "last-map": Row(VOTES, {"model.columns": ("gap",)}),
    "all-levels": Row(VOTES, {"model.levels": 8}),
    "trained": Row(VOTES, {"eval.size": "trained"}),
    "long384": Row(VOTES, {"eval.size": "long=384"}),
    "long512": Row(VOTES, {"eval.size": "long=512"}),
    # trained end to end
    "fine-tuned": Row("configs/rows/keep_aspect.py:fine_tuned"),
    "scratch": Row(SCRATCH),
    "mobile-scratch": Row(SCRATCH, {"model.backbone": "mobile"}),
}
LEARNERS = "learners"
NAMES = (*ROWS, LEARNERS)
DEFAULT = ("frozen",)


class Pooled(NamedTuple):
    """Of all test pictures: names, and truth, prediction and the fold's mean histogram (N, K); splits: each SHA-256."""

    splits: list[str]
    names: list[str]
    truth: np.ndarray
    predicted: np.ndarray
    constant: np.ndarray


def train(row: str, folder: Path, group: str, folds: int, fold: int) -> Path:
    """The finished workdir of a fold."""
    workdir = Path("runs", "folds", folder.name, f"{row}-{fold}")
    options = {
        "data.dir": folder, "data.group": group, "data.folds": folds, "data.fold": fold, **ROWS[row].options,
    }  # fmt: skip
    finish(ROWS[row].config, workdir, options)
    return workdir


def pooled(workdirs: Sequence[Path]) -> Pooled:
    """The test folds one after the other."""
    splits, names, truth, predicted, constant = [], [], [], [], []
    for workdir in workdirs:
        results = json.loads((workdir / "results.json").read_text())
        splits.append(results["split"]["sha256"])
        mean = np.array(results["mean_histogram"])
        ratings = range(1, len(mean) + 1)
        with (workdir / "predictions.csv").open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                names.append(line["image"])
                truth.append([float(line[f"truth_{k}"]) for k in ratings])
                predicted.append([float(line[f"pred_{k}"]) for k in ratings])
                constant.append(mean / mean.sum())
    return Pooled(splits, names, np.array(truth), np.array(predicted), np.array(constant))


def groups_of(folder: Path, group: str) -> dict[str, str]:
    """The group of each picture; its own name where it has none. Errors: DataError."""
    dataset = load(configured({**flat(get_config()), **features.data_options(str(folder), group)}).data)
    return dict(zip(dataset.images, dataset.groups or dataset.images, strict=True))


def distances(found: Pooled) -> tuple[np.ndarray, np.ndarray]:
    """emd_r2 of each picture: of the model, and of the mean histogram."""
    model, mean = (emd(found.truth, rows, 2) for rows in (found.predicted, found.constant))
    return model, mean


def described(row: str, found: Pooled, groups: Mapping[str, str], seconds: float) -> str:
    """A line of the table."""
    model, mean = distances(found)
    difference, low, high = paired_difference(model, mean, [groups[n] for n in found.names], 10_000, 0)
    (truth_mean, _), (predicted_mean, _) = moments(found.truth), moments(found.predicted)
    srcc = spearmanr(truth_mean, predicted_mean)[0]
    return (
        f"| {row} | {model.mean():.4f} | {mean.mean():.4f} | {difference:.4f} | {low:.4f} to {high:.4f} | {srcc:.3f} | "
        f"{seconds:.0f} |"
    )


def against(row: str, found: Pooled, first: Pooled, groups: Mapping[str, str]) -> str:
    """A line of the second table: a row's difference to the first one."""
    assert found.names == first.names
    (here, _), (there, _) = distances(found), distances(first)
    difference, low, high = paired_difference(here, there, [groups[n] for n in found.names], 10_000, 0)
    return f"| {row} | {difference:+.4f} | {low:+.4f} to {high:+.4f} |"


def cross_validated(row: str, folder: Path, group: str, folds: int, left: int) -> Pooled:
    """All folds of a row. left: rows from this one on, for the time that is told."""
    workdirs, started = [], time.perf_counter()
    for fold in range(folds):
        workdirs.append(train(row, folder, group, folds, fold))
        model, mean = (values.mean() for values in distances(pooled(workdirs[-1:])))
        each = (time.perf_counter() - started) / (fold + 1)
        print(
            f"{row}, fold {fold + 1} of {folds}: emd_r2 {model:.4f}, mean histogram {mean:.4f}; "
            f"{each * (folds * left - fold - 1):.0f} s left if all rows are like this one",
            file=sys.stderr,
        )
    return pooled(workdirs)


def learners(folder: Path, group: str, folds: int) -> dict[str, Pooled]:
    """Table 1's learners by name, of the first seed."""
    out = Path("runs", "folds", folder.name)
    config: Config = table1.get_config()
    of_pictures = features.prepared(str(folder), group, "lite0", out / "lite0.npz")
    options = features.data_options(str(folder), group) | {"data.folds": folds}
    splits, names, truth, constant = [], [], [], []
    predicted: dict[str, list[np.ndarray]] = {}
    for fold in range(folds):
        dataset = load(configured({**flat(get_config()), **options, "data.fold": fold}).data)
        here = of_pictures._replace(splits=np.array(dataset.splits))
        data, test = table1_fits.splits(here, config.dimensions), here.rows("test")
        splits.append(dataset.split_sha256("test"))
        names += here.images[test].tolist()
        truth.append(histograms(here.votes[test]))
        constant.append(np.tile(histograms(data.train[1]).mean(axis=0), (len(test), 1)))
        for row in table1_fits.learner_rows(data, config, out / f"{LEARNERS}-{fold}"):
            predicted.setdefault(row.name, []).append(row.predictions[0])
        print(f"{LEARNERS}, fold {fold + 1} of {folds}", file=sys.stderr)
    true, mean = np.concatenate(truth), np.concatenate(constant)
    return {name: Pooled(splits, names, true, np.concatenate(each), mean) for name, each in predicted.items()}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with votes.csv")
    parser.add_argument("--group", default="group", help="column whose values never cross folds")
    parser.add_argument("--rows", default=",".join(DEFAULT), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args(arguments)
    rows = given.rows.split(",")
    if not set(rows) <= set(NAMES):
        sys.exit(f"error: --rows must be among {', '.join(NAMES)}; they are {given.rows}")
    with ending.in_a_line(*features.ERRORS):
        print_tables(given.folder, given.group, given.folds, rows)


def print_tables(folder: Path, group: str, folds: int, rows: Sequence[str]) -> None:
    """Each row when its folds are done, then all beside the first one. Errors: those of `features.ERRORS`."""
    groups = groups_of(folder, group)
    print(f"{len(groups)} pictures, {len(set(groups.values()))} groups, {folds} folds\n")
    print("| row | emd_r2 | mean histogram | difference | 95 % interval | SRCC | seconds |")
    print("|---|---|---|---|---|---|---|")
    found = {}
    for place, row in enumerate(rows):
        started, left = time.perf_counter(), len(rows) - place
        if row == LEARNERS:
            here = learners(folder, group, folds)
        else:
            here = {row: cross_validated(row, folder, group, folds, left)}
        for name, each in here.items():
            print(described(name, each, groups, time.perf_counter() - started), flush=True)
        found |= here
    first, *others = found
    print(f"\nseed 0; SHA-256 of the test folds: {', '.join(s[:12] for s in found[first].splits)}")
    if others:
        print(f"\n| row | difference to {first} | 95 % interval |\n|---|---|---|")
        print("\n".join(against(row, found[row], found[first], groups) for row in others))


if __name__ == "__main__":
    ending.run(lambda: main(sys.argv[1:]))
