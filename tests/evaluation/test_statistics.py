"""Values of a whole set against scipy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from mtp.evaluation import statistics

ONES = np.ones(40)


def test_correlations_are_scipys_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 40).astype(float)
    assert statistics.srcc(a, b, ONES) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert statistics.plcc(a, b, ONES) == pytest.approx(stats.pearsonr(a, b).statistic)
    np.testing.assert_allclose(statistics.average_ranks(statistics.tie_groups(a), ONES), stats.rankdata(a))


def test_weights_count_like_repeated_pictures():
    rng = np.random.default_rng(0)
    a, b, labels = (
        rng.normal(size=40),
        rng.integers(0, 6, 40).astype(float),
        rng.integers(0, 2, 40).astype(float),
    )
    weights = rng.integers(0, 4, 40)
    ra, rb, rl = (np.repeat(x, weights) for x in (a, b, labels))
    w = weights.astype(float)
    assert statistics.srcc(a, b, w) == pytest.approx(stats.spearmanr(ra, rb).statistic)
    assert statistics.plcc(a, b, w) == pytest.approx(stats.pearsonr(ra, rb).statistic)
    assert statistics.rmse(a, b, w) == pytest.approx(np.sqrt(np.mean((ra - rb) ** 2)))
    assert statistics.average_precision(labels, b, w) == pytest.approx(average_precision_score(rl, rb))
    assert statistics.majority(labels, w) == pytest.approx(max(rl.mean(), 1 - rl.mean()))


def test_average_precision_is_scikit_learns_whatever_the_ties():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 40).astype(float), rng.integers(0, 5, 40).astype(float)
    ours = statistics.average_precision(labels, scores, ONES)
    assert ours == pytest.approx(average_precision_score(labels, scores))
    order = rng.permutation(40)
    assert statistics.average_precision(labels[order], scores[order], ONES) == pytest.approx(ours)


def test_what_is_undefined_is_nan():
    a = np.arange(40.0)
    assert np.isnan(statistics.srcc(a, np.full(40, 5.4), ONES))
    assert np.isnan(statistics.plcc(a, np.full(40, 0.1) + 0.2, ONES))
    assert np.isnan(statistics.average_precision(np.zeros(40), a, ONES))
    assert np.isnan(statistics.weighted_mean(a, np.zeros(40)))


def test_equal_means_tie_whatever_the_order_of_summation():
    rows = np.random.default_rng(0).dirichlet(np.full(10, 0.7), 5)
    assert len(set(statistics.moments(np.tile(rows.mean(0), (5, 1)))[0])) == 1


def test_what_is_prepared_once_serves_all_weights():
    """Sorted once, asked with many weights: the same as sorted anew for each."""
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 6, 40).astype(float), rng.normal(size=40)
    labels = rng.integers(0, 2, (40, 3)).astype(float)
    scores = rng.integers(0, 4, (40, 3)).astype(float)
    correlation, each = statistics.rank_correlation(a, b), statistics.precisions(labels, scores)
    for weights in rng.multinomial(40, np.full(40, 1 / 40), size=20):
        ra, rb, rl, rs = (np.repeat(x, weights, axis=0) for x in (a, b, labels, scores))
        assert correlation(weights.astype(float)) == pytest.approx(stats.spearmanr(ra, rb).statistic)
        expected = [average_precision_score(rl[:, s], rs[:, s]) for s in range(3)]
        np.testing.assert_allclose(each(weights.astype(float)), expected)
