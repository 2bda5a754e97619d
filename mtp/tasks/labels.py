"""The tasks' labels of pictures with votes and styles. Numpy."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num

from mtp.ratings import histograms, is_high, mean_and_std

Votes = Num[np.ndarray, "N K"]
Styles = Float[np.ndarray, "N S"]


class Labels(NamedTuple):
    """values: finite everywhere, zeros where there is no label; known: where there is one."""

    values: Float[np.ndarray, "N ..."]
    known: Bool[np.ndarray, " N"]


def _of_everyone(values: np.ndarray) -> Labels:
    return Labels(values, np.ones(len(values), bool))


def distribution(votes: Votes, styles: Styles, threshold: float) -> Labels:
    """(N, K) the histogram of each picture's ratings."""
    return _of_everyone(histograms(votes))


def two_category(votes: Votes, styles: Styles, threshold: float) -> Labels:
    """(N,) 1 where the mean rating is high, else 0."""
    return _of_everyone(is_high(mean_and_std(histograms(votes))[0], threshold).astype(float))


def style(votes: Votes, styles: Styles, threshold: float) -> Labels:
    """(N, S) 0 and 1; a row of NaN has no label."""
    return Labels(np.nan_to_num(styles), np.logical_not(np.isnan(styles).any(axis=1)))
