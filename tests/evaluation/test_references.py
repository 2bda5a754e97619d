"""The reference rows."""

import numpy as np
import pytest

from mtp.evaluation import distances, references
from mtp.ratings import histograms

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
    floor = [distances.emd(histograms(v), references.vote_noise(v, 0), 2).mean() for v in (few, few * 25)]
    assert floor[0] / floor[1] == pytest.approx(5, rel=0.15)


def test_random_mean_is_further_off_by_one_kth():
    """Squared distance: mean histogram's times 1 + 1/k."""
    d = np.random.default_rng(0).dirichlet(np.full(10, 3.0), 20_000)
    constant = distances.ped_sq(d, references.mean_histogram(len(d), d.mean(axis=0))).mean()
    for k in (1, 5, 20):
        drawn = distances.ped_sq(d, references.random_mean(len(d), d, k, 0)).mean()
        assert drawn / constant == pytest.approx(1 + 1 / k, rel=0.02)
    np.testing.assert_array_equal(references.random_mean(9, d, 3, 1), references.random_mean(9, d, 3, 1))


def test_oracle_mean_is_the_average_shape_at_that_mean():
    """Training pictures whose histogram follows from their mean: the oracle finds it, whatever the picture's own."""
    high = np.repeat(np.arange(101), 9)
    training = np.column_stack([100 - high, np.zeros_like(high), high])
    rows = references.oracle_mean(np.array([[0, 10, 0], [3, 0, 1], [5, 0, 0]]), training)
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    # 31 neighbours are three or four steps of .01
    np.testing.assert_allclose(rows, [[0.5, 0, 0.5], [0.75, 0, 0.25], [1, 0, 0]], atol=0.03)


def test_oracle_mean_needs_few_training_pictures():
    votes = np.array([[4, 0, 0], [0, 0, 4]])
    np.testing.assert_allclose(references.oracle_mean(votes, votes[:1]), [[1, 0, 0], [1, 0, 0]])
