"""Real photographs, five folds: does the model beat the mean histogram?  python -m experiments.oasis_folds FOLDER

FOLDER: OASIS with votes (467 photographs, ratings 1 to 7, `theme` names near-duplicates). Trains configs/votes.py on
each fold grouped by theme, pools the five test folds (every picture once, predicted by a model that saw none of its
theme), and prints the paired difference of emd_r2 per picture, model minus mean histogram of that fold's training
split, with a 95 % interval that resamples whole themes. Negative is better. Workdirs: runs/oasis-fold0 and so on.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from mtp.evaluation.distances import emd
from mtp.evaluation.intervals import paired_difference
from mtp.evaluation.statistics import moments

FOLDS = 5


def train(folder: Path, fold: int) -> Path:
    """The finished workdir of a fold."""
    workdir = Path(f"runs/oasis-fold{fold}")
    subprocess.run(
        [
            sys.executable, "-m", "mtp.main", "--config=configs/votes.py", f"--workdir={workdir}",
            f"--config.data.dir={folder}", "--config.data.group=theme",
            f"--config.data.folds={FOLDS}", f"--config.data.fold={fold}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return workdir


def pooled(workdirs: list[Path]) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Names, truth, prediction and the fold's mean histogram (N, K) of all test pictures."""
    names, truth, predicted, constant = [], [], [], []
    for workdir in workdirs:
        results = json.loads((workdir / "results.json").read_text())
        mean = np.array(results["mean_histogram"])
        ratings = range(1, len(mean) + 1)
        with (workdir / "predictions.csv").open() as file:
            for row in csv.DictReader(file):
                names.append(row["image"])
                truth.append([float(row[f"truth_{k}"]) for k in ratings])
                predicted.append([float(row[f"pred_{k}"]) for k in ratings])
                constant.append(mean / mean.sum())
    return names, np.array(truth), np.array(predicted), np.array(constant)


def main() -> None:
    folder = Path(sys.argv[1])
    workdirs = [train(folder, fold) for fold in range(FOLDS)]
    names, truth, predicted, constant = pooled(workdirs)
    with (folder / "votes.csv").open() as file:
        themes = {row["image"]: row["theme"] or row["image"] for row in csv.DictReader(file)}
    model, mean = (emd(truth, rows, 2) for rows in (predicted, constant))
    difference, low, high = paired_difference(model, mean, [themes[n] for n in names], 10_000, 0)
    (truth_mean, _), (predicted_mean, _) = moments(truth), moments(predicted)
    print(f"{len(names)} photographs, {len(set(themes[n] for n in names))} themes, {FOLDS} folds")
    print(f"emd_r2 model {model.mean():.4f}, mean histogram {mean.mean():.4f}")
    print(f"difference {difference:.4f}, 95 % interval [{low:.4f}, {high:.4f}] over whole themes")
    print(f"SRCC of the mean, folds pooled {spearmanr(truth_mean, predicted_mean)[0]:.3f}")


if __name__ == "__main__":
    main()
