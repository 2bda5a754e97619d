"""The rows that every table carries beside the model's: what a number is worth."""

import numpy as np

from mtp.ratings import histograms, mean_and_std


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


def random_mean(pictures: int, histograms: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Mean of k training histograms (N, K) drawn at random for each picture: k nearest neighbours that know nothing.

    Its squared distance from the truth is that of the mean histogram times 1 + 1/k.
    """
    draws = np.random.default_rng([seed, 3]).integers(len(histograms), size=(pictures, k))
    return histograms[draws].mean(axis=1)


def oracle_mean(votes: np.ndarray, training: np.ndarray) -> np.ndarray:
    """What knowing each picture's mean rating alone is worth, (N, K).

    The average histogram of the sqrt(n) training pictures (votes (n, K)) next to it in order of their mean ratings.
    """
    known = histograms(training)
    order = np.argsort(mean_and_std(known)[0], kind="stable")
    count = int(np.ceil(np.sqrt(len(known))))
    place = np.searchsorted(mean_and_std(known)[0][order], mean_and_std(histograms(votes))[0])
    first = np.clip(place - count // 2, 0, len(known) - count)
    sums = np.cumsum(np.vstack([np.zeros(known.shape[1]), known[order]]), axis=0)
    # differences of sums may fall below zero by their rounding
    near = np.maximum(sums[first + count] - sums[first], 0)
    return near / near.sum(axis=1, keepdims=True)


def rows(votes: np.ndarray, mean: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """All reference rows for pictures with these votes (N, K)."""
    return {
        "uniform": uniform(*votes.shape),
        "mean histogram": mean_histogram(len(votes), mean),
        "vote noise": vote_noise(votes, seed),
    }
