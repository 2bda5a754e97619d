"""The rating scale 1..K: histograms, their mean and spread, and what counts as high. Plain numpy, float64."""

from typing import NamedTuple

import numpy as np

from mtp.config import ConfigError

DECIMALS = 12  # to which ratings are compared: rounding must not tell two equal means apart


class RatingScale(NamedTuple):
    """threshold: a mean above is high; delta: half-width of the ambiguous middle; tau: of the two-category weights.

    All in ratings.
    """

    threshold: float
    delta: float
    tau: float


def rating_scale(
    ratings: int, threshold: float | None = None, delta: float | None = None, tau: float | None = None
) -> RatingScale:
    """Values in ratings; None means the scale's own: AVA's 5, 1, .5, else (K+1)/2, (K-1)/9, .5 (K-1)/9.

    Errors: ConfigError on a threshold outside the scale, above which every picture or none would be high.
    """
    step = (ratings - 1) / 9
    middle = 5.0 if ratings == 10 else (ratings + 1) / 2
    if threshold is not None and not 1 <= threshold < ratings:
        raise ConfigError(f"loss.threshold must lie within the ratings 1..{ratings}, not be {threshold:g}")
    derived = (middle, step, 0.5 * step)
    return RatingScale(
        *(d if v is None else v for d, v in zip(derived, (threshold, delta, tau), strict=True))
    )


def histograms(votes: np.ndarray) -> np.ndarray:
    """Counts (N, K) to distributions (N, K): float64, every row sums to one."""
    votes = np.asarray(votes, np.float64)
    return votes / votes.sum(axis=-1, keepdims=True)


def mean_and_std(distribution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (N,) of distributions (N, K) over the ratings 1..K."""
    ratings = np.arange(1, distribution.shape[-1] + 1)
    mean = distribution @ ratings
    variance = np.sum(distribution * np.square(ratings - mean[..., None]), axis=-1)
    return mean, np.sqrt(np.maximum(variance, 0.0))


def is_high(mean: np.ndarray, threshold: float) -> np.ndarray:
    """The two categories: whether each mean rating (N,) is above the threshold; a tie is low.

    Means are compared to 12 decimals. That is exact: the mean of n votes differs from a threshold of d decimals by
    nothing or by at least 10^-d / n, and a float64 mean is within 10^-13 of it.
    """
    return np.round(mean, DECIMALS) > round(threshold, DECIMALS)


def is_clear(mean: np.ndarray, threshold: float, delta: float) -> np.ndarray:
    """Whether each mean rating (N,) is further than delta from the threshold, to 12 decimals as in `is_high`."""
    return np.round(np.abs(mean - threshold), DECIMALS) > round(delta, DECIMALS)
