"""The reference rows."""

import numpy as np
import pytest

from mtp import metrics, references
from mtp.ops.ratings import histograms

VOTES = np.array([[3, 5, 2], [0, 0, 40], [100, 200, 100]])


def test_rows_are_on_the_simplex_and_seeded():
    mean = np.array([0.2, 0.5, 0.3])
    rows = references.rows(VOTES, mean, seed=1)
    assert list(rows) == ["uniform", "mean histogram", "vote noise"]
    for row in rows.values():
        np.testing.assert_allclose(row.sum(axis=1), 1)
    np.testing.assert_allclose(rows["uniform"], 1 / 3)
    np.testing.assert_allclose(rows["mean histogram"], np.tile(mean, (3, 1)))
    np.testing.assert_array_equal(references.vote_noise(VOTES, 1), rows["vote noise"])
    assert not np.array_equal(references.vote_noise(VOTES, 2), rows["vote noise"])


def test_vote_noise_has_the_spread_of_as_many_votes():
    """Variance p (1 - p) / n of each bar."""
    votes = np.tile([[30, 60, 10]], (4000, 1))
    noise = references.vote_noise(votes, 0)
    p = np.array([0.3, 0.6, 0.1])
    np.testing.assert_allclose(noise.mean(axis=0), p, atol=0.003)
    np.testing.assert_allclose(noise.var(axis=0), p * (1 - p) / 100, rtol=0.1)


def test_unanimous_pictures_have_no_vote_noise():
    np.testing.assert_array_equal(references.vote_noise(VOTES, 0)[1], [0, 0, 1])


def test_more_votes_less_noise():
    rng = np.random.default_rng(0)
    few = np.array([rng.multinomial(20, p) for p in rng.dirichlet(np.ones(10), 300)])
    floor = [metrics.emd(histograms(v), references.vote_noise(v, 0), 2).mean() for v in (few, few * 25)]
    assert floor[0] / floor[1] == pytest.approx(5, rel=0.15)
