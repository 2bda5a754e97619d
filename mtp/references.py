"""The rows that every table carries beside the model's: what a number is worth."""

import numpy as np

from mtp.ops.ratings import histograms


def uniform(pictures: int, ratings: int) -> np.ndarray:
    """Every rating equally likely, (N, K)."""
    return np.full((pictures, ratings), 1 / ratings)


def mean_histogram(pictures: int, mean: np.ndarray) -> np.ndarray:
    """The training split's mean histogram for every picture, (N, K)."""
    return np.tile(mean / mean.sum(), (pictures, 1))


def vote_noise(votes: np.ndarray, seed: int) -> np.ndarray:
    """The floor: as many votes again, drawn from each picture's own histogram, (N, K)."""
    draws = np.random.default_rng([seed, 1]).multinomial(votes.sum(axis=1), histograms(votes))
    return histograms(draws)


def rows(votes: np.ndarray, mean: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """All reference rows for pictures with these votes (N, K)."""
    return {
        "uniform": uniform(*votes.shape),
        "mean histogram": mean_histogram(len(votes), mean),
        "vote noise": vote_noise(votes, seed),
    }
