"""Label-distribution data that tests share."""

from typing import NamedTuple

import jax
import numpy as np
import pytest


class Data(NamedTuple):
    x: np.ndarray
    d: np.ndarray
    votes: np.ndarray
    truth: np.ndarray


def make(n: int, features: int, k: int, seed: int, raters: int = 80) -> Data:
    """Votes drawn from a maximum-entropy model with a bell-shaped prior."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)) * rng.uniform(0.5, 2, features)
    logits = x @ rng.normal(size=(features, k)) * 0.4 - 3 * np.linspace(-1, 1, k) ** 2
    truth = np.exp(logits)
    truth /= truth.sum(axis=1, keepdims=True)
    votes = np.array([rng.multinomial(raters, p) for p in truth])
    return Data(x, votes / raters, votes, truth)


@pytest.fixture(scope="session")
def data() -> Data:
    return make(120, 6, 5, 0)


@pytest.fixture(scope="session")
def key() -> jax.Array:
    return jax.random.key(0)
