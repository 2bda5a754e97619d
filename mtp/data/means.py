"""Data of which only the mean rating of each picture is known.

A mean stands in `Dataset.votes` as weights of the two ratings next to it, and `Dataset.means_only` says so: nothing
but the mean of such a row means anything.
"""

import numpy as np

from mtp.data.schema import DataError, Dataset

WEIGHT = 10_000  # of a picture: its mean is kept to half of a ten-thousandth


def votes(means: np.ndarray, ratings: int) -> np.ndarray:
    """(N, K) whole numbers that sum to 10,000 a row, for mean ratings (N,) in 1..K."""
    below = np.clip(np.floor(means), 1, ratings - 1).astype(np.int64)
    upper = np.rint((means - below) * WEIGHT).astype(np.int64)
    rows = np.zeros((len(means), ratings), np.int64)
    everyone = np.arange(len(means))
    rows[everyone, below - 1], rows[everyone, below] = WEIGHT - upper, upper
    return rows


def refuse(dataset: Dataset, use: str) -> None:
    """Errors: DataError where the data has means only, and `use` needs the histograms."""
    if dataset.means_only:
        raise DataError(f"{use} needs the histogram of each picture's ratings; {dataset.name} has means only")
