"""What counts how much: the tasks in the total loss, and the pictures in each task's loss."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mtp.ratings import histograms, mean_and_std

TaskValues = Mapping[str, Float[Array, ""]]


def total(
    losses: TaskValues, log_sigma: TaskValues, factors: Mapping[str, float], shares: TaskValues, kind: str
) -> Float[Array, ""]:
    """The tasks' losses in one number.

    "kendall": Eq. 1, sum of factor / (2 sigma^2) L + share x log sigma, with the factor 1/2 on every task as
    printed (Kendall et al. 2018 have it on regression only). share: the task's labelled pictures in this
    batch over their nominal number, so that a batch without a task's labels gives its sigma no gradient.
    "sum": losses simply added.
    """
    if kind == "sum":
        return sum(losses.values(), jnp.zeros(()))
    result = jnp.zeros(())
    for task, loss in losses.items():
        result += factors[task] * 0.5 * jnp.exp(-2 * log_sigma[task]) * loss + shares[task] * log_sigma[task]
    return result


def project(log_sigma: TaskValues, low: float, high: float) -> TaskValues:
    """Learned log sigmas back into the paper's range (3.1), after the update."""
    return jax.tree.map(lambda s: jnp.clip(s, low, high), log_sigma)


class Reliability(NamedTuple):
    """The constants that the weights' formulas take from the training split.

    median: of the variance in ratings^2, or of the number of votes (kind "votes"). distribution_mean,
    two_category_mean: of the weights before they are scaled to mean 1.
    """

    kind: str
    median: float
    distribution_mean: float
    two_category_mean: float


def fit_reliability(votes: np.ndarray, kind: str, threshold: float, tau: float) -> Reliability:
    """The constants of `reliability` for training pictures with these votes (N, K)."""
    counted = votes.sum(axis=1) if kind == "votes" else np.square(mean_and_std(histograms(votes))[1])
    middle = float(np.median(counted))
    means = [float(weights.mean()) for weights in _unscaled(votes, kind, middle, threshold, tau)]
    return Reliability(kind, middle, *means)


def reliability(
    votes: np.ndarray, kind: str, threshold: float, tau: float, seed: int = 0
) -> dict[str, np.ndarray]:
    """Weights (N,) of the training pictures in the losses of the tasks that have such weights, of mean 1.

    Section 3.3 gives no formula; these are ours. "variance": clip(median var / var, 1/4, 4) for the distribution, and
    1 - exp(-(mean - threshold)^2 / (2 tau^2)) for the category. "votes": n / (n + median n) for both. "permuted":
    "variance" shuffled over the pictures, a control. "none": ones.
    """
    fit = fit_reliability(votes, kind, threshold, tau)
    distribution, two_category = _unscaled(votes, kind, fit.median, threshold, tau)
    if kind == "permuted":
        order = np.random.default_rng([seed, 0]).permutation(len(votes))
        distribution, two_category = distribution[order], two_category[order]
    return {
        "distribution": distribution / fit.distribution_mean,
        "two_category": two_category / fit.two_category_mean,
    }


def _unscaled(
    votes: np.ndarray, kind: str, middle: float, threshold: float, tau: float
) -> tuple[np.ndarray, np.ndarray]:
    ones = np.ones(len(votes))
    if kind == "none":
        return ones, ones
    if kind == "votes":
        count = votes.sum(axis=1)
        return count / (count + middle), count / (count + middle)
    mean, std = mean_and_std(histograms(votes))
    # unanimous pictures have no variance: the ratio is clipped upside down
    distribution = 1 / np.clip(np.square(std) / middle, 0.25, 4.0) if middle > 0 else ones
    two_category = 1 - np.exp(-np.square(mean - threshold) / (2 * tau**2))
    return distribution, two_category if two_category.mean() > 0 else ones
