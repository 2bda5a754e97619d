"""Values of a whole set of pictures: correlations, average precision, errors. Numpy, float64.

weights (N,): how often each picture counts (ones; a bootstrap's resampled counts). `rank_correlation` and
`precision` sort once and return a function of the weights alone, which sorts nothing.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from mtp.ratings import DECIMALS, mean_and_std

Values = Float[np.ndarray, " N"]
Groups = Int[np.ndarray, " N"]
Statistic = Callable[[np.ndarray], float]  # weights (N,) -> value, NaN where it is undefined


def moments(rows: Float[np.ndarray, "N K"]) -> tuple[Values, Values]:
    """Mean and standard deviation of histograms over the ratings 1..K, rounded to `DECIMALS`."""
    mean, std = mean_and_std(rows)
    # summation order must not make two equal means a rank apart
    return mean.round(DECIMALS), std.round(DECIMALS)


def weighted_mean(values: Values, weights: Values) -> float:
    """NaN where nothing counts."""
    total = weights.sum()
    return float(weights @ values / total) if total else np.nan


def rmse(a: Values, b: Values, weights: Values) -> float:
    """Root of the mean squared difference."""
    return float(np.sqrt(weighted_mean(np.square(a - b), weights)))


def majority(high: Values, weights: Values) -> float:
    """Share of the larger of two classes."""
    share = weighted_mean(high, weights)
    return float(max(share, 1 - share))


def plcc(a: Values, b: Values, weights: Values) -> float:
    """Pearson's correlation; NaN where a side is constant."""
    total = weights.sum()
    if not total:
        return np.nan
    (a, varies), (b, varies_too) = _centred(a, weights / total), _centred(b, weights / total)
    if not (varies and varies_too):
        return np.nan
    return float(weights @ (a * b) / np.sqrt((weights @ np.square(a)) * (weights @ np.square(b))))


def _centred(values: Values, shares: Values) -> tuple[Values, bool]:
    """Deviations from the mean, and whether they are more than the rounding of a constant."""
    deviations = values - shares @ values
    rounding = 8 * np.finfo(np.float64).eps * np.abs(values).max()
    return deviations, bool(shares @ np.square(deviations) > rounding**2)


def tie_groups(values: Values) -> Groups:
    """The place of each value among the distinct values in rising order: equal values share one."""
    return np.unique(values, return_inverse=True)[1]


def average_ranks(groups: Groups, weights: Values) -> Values:
    """Ranks of a set in which a value of group i occurs weights[i] times; ties share their mean rank."""
    ties = np.bincount(groups, weights)
    return (np.cumsum(ties) - (ties - 1) / 2)[groups]


def rank_correlation(a: Values, b: Values) -> Statistic:
    """Spearman's rank correlation; NaN where a side is constant."""
    first, second = tie_groups(a), tie_groups(b)
    return lambda weights: plcc(average_ranks(first, weights), average_ranks(second, weights), weights)


def srcc(a: Values, b: Values, weights: Values) -> float:
    """Spearman's rank correlation of one set of weights."""
    return rank_correlation(a, b)(weights)


def precision(labels: Values, scores: Values) -> Statistic:
    """Average precision: sum over distinct scores, falling, of (recall step) x precision; NaN without a positive."""
    groups = tie_groups(-scores)

    def value(weights: np.ndarray) -> float:
        hits = np.bincount(groups, weights * labels)
        found = np.cumsum(hits)
        if not len(found) or not found[-1]:
            return np.nan
        seen = np.maximum(np.cumsum(np.bincount(groups, weights)), 1)
        return float(np.sum(hits / found[-1] * found / seen))

    return value


def average_precision(labels: Values, scores: Values, weights: Values) -> float:
    """Average precision of one set of weights."""
    return precision(labels, scores)(weights)


def precisions(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """weights (N,) -> average precision of each column (S,) of labels and scores (N, S)."""
    columns = [precision(labels[:, s].astype(float), scores[:, s]) for s in range(labels.shape[1])]
    return lambda weights: np.array([column(weights) for column in columns])
