"""Histograms of ratings 1..K: plain numpy, float64."""

import numpy as np


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
