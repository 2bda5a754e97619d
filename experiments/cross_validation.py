"""Cross-validation of a folder: does a model beat the mean histogram on pictures of groups that it never saw?

    python -m experiments.cross_validation FOLDER [--group=COLUMN] [--rows=frozen,scratch] [--folds=5]

Trains each row on each fold, pools the test folds (every picture once, predicted by a model that saw none of its
group), and prints the paired difference of emd_r2 per picture, model minus mean histogram of that fold's training
split, with a 95 % interval that resamples whole groups, and the rank correlation of the means. Negative is better.
Workdirs: runs/folds/FOLDER/ROW-0 and so on; finished ones are kept, so that it goes on where it was.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from mtp.evaluation.distances import emd
from mtp.evaluation.intervals import paired_difference
from mtp.evaluation.statistics import moments


class Row(NamedTuple):
    """config: a file of configs/; options: changes of it."""

    config: str
    options: Mapping[str, Any] = {}


ROWS = {
    "frozen": Row("votes"),
    "lite0": Row("votes", {"model.backbone": "lite0"}),
    "lite2": Row("votes", {"model.backbone": "lite2"}),
    "lite0-last-map": Row("votes", {"model.backbone": "lite0", "model.columns": ("gap",)}),
    "frozen-last-map": Row("votes", {"model.columns": ("gap",)}),
    "frozen-long384": Row("votes", {"eval.size": "long=384"}),
    "scratch": Row("votes_scratch"),
}
DEFAULT = ("frozen",)


class Pooled(NamedTuple):
    """Of all test pictures: names, and truth, prediction and the fold's mean histogram (N, K)."""

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
    command = [
        sys.executable,
        "-m",
        "mtp.main",
        f"--config=configs/{ROWS[row].config}.py",
        f"--workdir={workdir}",
    ]
    given = [f"--config.{name}={value}" for name, value in options.items()]
    subprocess.run([*command, *given], check=True, stdout=subprocess.DEVNULL)
    return workdir


def pooled(workdirs: Sequence[Path]) -> Pooled:
    """The test folds one after the other."""
    names, truth, predicted, constant = [], [], [], []
    for workdir in workdirs:
        results = json.loads((workdir / "results.json").read_text())
        mean = np.array(results["mean_histogram"])
        ratings = range(1, len(mean) + 1)
        with (workdir / "predictions.csv").open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                names.append(line["image"])
                truth.append([float(line[f"truth_{k}"]) for k in ratings])
                predicted.append([float(line[f"pred_{k}"]) for k in ratings])
                constant.append(mean / mean.sum())
    return Pooled(names, np.array(truth), np.array(predicted), np.array(constant))


def groups_of(folder: Path, group: str) -> dict[str, str]:
    """The group of each picture; its own name where it has none."""
    with (folder / "votes.csv").open(newline="", encoding="utf-8-sig") as file:
        return {line["image"]: line.get(group) or line["image"] for line in csv.DictReader(file)}


def described(row: str, found: Pooled, groups: Mapping[str, str], seconds: float) -> str:
    """A line of the table."""
    model, mean = (emd(found.truth, rows, 2) for rows in (found.predicted, found.constant))
    difference, low, high = paired_difference(model, mean, [groups[n] for n in found.names], 10_000, 0)
    (truth_mean, _), (predicted_mean, _) = moments(found.truth), moments(found.predicted)
    srcc = spearmanr(truth_mean, predicted_mean)[0]
    return (
        f"| {row} | {model.mean():.4f} | {mean.mean():.4f} | {difference:.4f} | {low:.4f} to {high:.4f} | {srcc:.3f} | "
        f"{seconds:.0f} |"
    )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with votes.csv")
    parser.add_argument("--group", default="group", help="column whose values never cross folds")
    parser.add_argument("--rows", default=",".join(DEFAULT), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args(arguments)
    rows = given.rows.split(",")
    if not set(rows) <= set(ROWS):
        sys.exit(f"error: --rows must be among {', '.join(ROWS)}; they are {given.rows}")
    groups = groups_of(given.folder, given.group)
    print(f"{len(groups)} pictures, {len(set(groups.values()))} groups, {given.folds} folds\n")
    print("| row | emd_r2 | mean histogram | difference | 95 % interval | SRCC | seconds |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        started = time.perf_counter()
        workdirs = [train(row, given.folder, given.group, given.folds, fold) for fold in range(given.folds)]
        print(described(row, pooled(workdirs), groups, time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
