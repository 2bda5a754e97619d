"""Metrics against scipy, scikit-learn and closed forms."""

import csv

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy import stats
from scipy.spatial import distance
from sklearn.metrics import average_precision_score

from mtp.evaluation import metrics


def simplex(n, k=10, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.7), n)


Y, P = simplex(40), simplex(40, seed=1)
ONES = np.ones(40)


def one_hot(*places, k=10):
    return np.eye(k)[[place - 1 for place in places]]


def test_emd_of_one_hots_has_its_closed_form():
    far, near = (one_hot(1), one_hot(10)), (one_hot(4), one_hot(5))
    np.testing.assert_allclose(metrics.emd(*far, 1), 0.9)
    np.testing.assert_allclose(metrics.emd(*far, 2), np.sqrt(0.9))
    np.testing.assert_allclose(metrics.emd(*near, 1), 0.1)
    np.testing.assert_allclose(metrics.emd(*near, 2), np.sqrt(0.1))


def test_emd_is_scipys_wasserstein_distance():
    ratings = np.arange(1, 11)
    expected = [stats.wasserstein_distance(ratings, ratings, y, p) / 10 for y, p in zip(Y, P, strict=True)]
    np.testing.assert_allclose(metrics.emd(Y, P, 1), expected)


def test_emd_takes_the_root_of_each_picture():
    both = metrics.emd(Y[:2], P[:2], 2)
    np.testing.assert_allclose(both, [metrics.emd(Y[i : i + 1], P[i : i + 1], 2)[0] for i in (0, 1)])
    batch_rms = np.sqrt(np.mean(np.square(np.cumsum(Y[:2] - P[:2], axis=1))))
    assert abs(both.mean() - batch_rms) > 1e-4


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.ped, distance.euclidean),
        (metrics.cheb, distance.chebyshev),
        (metrics.ped_sq, distance.sqeuclidean),
    ],
)
def test_distances_are_scipys(ours, theirs):
    np.testing.assert_allclose(ours(Y, P), [theirs(y, p) for y, p in zip(Y, P, strict=True)])


def test_cosine_is_scipys():
    np.testing.assert_allclose(
        metrics.cos(Y, P), [1 - distance.cosine(y, p) for y, p in zip(Y, P, strict=True)]
    )
    np.testing.assert_array_equal(metrics.cos(one_hot(2), one_hot(3)), 0)


def test_divergences_are_scipys_after_the_same_floor():
    y, p = one_hot(1, 5), P[:2]
    for floor in (1e-7, 1e-3):
        a, b = (np.maximum(x, floor) / np.maximum(x, floor).sum(1, keepdims=True) for x in (y, p))
        expected = [(stats.entropy(i, j) + stats.entropy(j, i)) / 2 for i, j in zip(a, b, strict=True)]
        np.testing.assert_allclose(metrics.pkl(y, p, floor), expected)
        np.testing.assert_allclose(
            metrics.kl(y, p, floor), [stats.entropy(i, j) for i, j in zip(y, b, strict=True)]
        )


def test_known_bounds_between_measures():
    cheb, ped, pkl = metrics.cheb(Y, P), metrics.ped(Y, P), metrics.pkl(Y, P, 1e-7)
    assert (cheb <= ped + 1e-12).all() and (ped <= np.sqrt(10) * cheb).all() and (ped <= np.sqrt(2)).all()
    assert (pkl >= 2 * np.square(cheb)).all()


def test_reversing_the_scale_changes_no_emd_and_permuting_bins_only_emd():
    np.testing.assert_allclose(metrics.emd(Y[:, ::-1], P[:, ::-1], 2), metrics.emd(Y, P, 2))
    order = np.random.default_rng(3).permutation(10)
    before, after = (metrics.per_picture(a, b, 1e-7) for a, b in ((Y, P), (Y[:, order], P[:, order])))
    for name in ("ped", "cheb", "pkl", "kl", "cos"):
        np.testing.assert_allclose(after[name], before[name])
    assert np.abs(after["emd_r1"] - before["emd_r1"]).max() > 0.01


def test_perfect_prediction():
    values = metrics.per_picture(Y, Y, 1e-7)
    for name in ("emd_r1", "emd_r2", "ped", "ped_sq", "cheb", "pkl"):
        np.testing.assert_array_equal(values[name], 0)
    np.testing.assert_allclose(values["cos"], 1)


@pytest.mark.parametrize("wrong", [P * 2, -P, P[:, :9], P[:5]])
def test_rows_off_the_simplex_are_refused(wrong):
    with pytest.raises((ValueError, TypeCheckError), match=r"must be|Type-check"):
        metrics.per_picture(Y, wrong, 1e-7)


def test_correlations_are_scipys_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 40).astype(float)
    assert metrics.srcc(a, b, ONES) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert metrics.plcc(a, b, ONES) == pytest.approx(stats.pearsonr(a, b).statistic)
    np.testing.assert_allclose(metrics.average_ranks(a, ONES), stats.rankdata(a))


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
    assert metrics.srcc(a, b, w) == pytest.approx(stats.spearmanr(ra, rb).statistic)
    assert metrics.plcc(a, b, w) == pytest.approx(stats.pearsonr(ra, rb).statistic)
    assert metrics.rmse(a, b, w) == pytest.approx(np.sqrt(np.mean((ra - rb) ** 2)))
    assert metrics.average_precision(labels, b, w) == pytest.approx(average_precision_score(rl, rb))
    assert metrics.majority(labels, w) == pytest.approx(max(rl.mean(), 1 - rl.mean()))


def test_average_precision_is_scikit_learns_whatever_the_ties():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 40).astype(float), rng.integers(0, 5, 40).astype(float)
    ours = metrics.average_precision(labels, scores, ONES)
    assert ours == pytest.approx(average_precision_score(labels, scores))
    order = rng.permutation(40)
    assert metrics.average_precision(labels[order], scores[order], ONES) == pytest.approx(ours)


def test_what_is_undefined_is_nan():
    a = np.arange(40.0)
    assert np.isnan(metrics.srcc(a, np.full(40, 5.4), ONES))
    assert np.isnan(metrics.plcc(a, np.full(40, 0.1) + 0.2, ONES))
    assert np.isnan(metrics.average_precision(np.zeros(40), a, ONES))
    assert np.isnan(metrics.weighted_mean(a, np.zeros(40)))


def test_equal_means_tie_whatever_the_order_of_summation():
    truth = simplex(5)
    tiled = np.tile(truth.mean(0), (5, 1))
    (_, mean), _ = metrics.means_and_stds(truth, tiled)
    assert len(set(mean)) == 1


def test_avas_mean_histogram_scores_as_published(shared_data):
    """The mean histogram of real AVA votes scores near its values on AVA's 25,551 pictures."""
    with (shared_data / "ava" / "ava_union_votes.csv").open() as file:
        votes = np.array([[int(row[f"c{k}"]) for k in range(1, 11)] for row in csv.DictReader(file)])
    y = votes / votes.sum(1, keepdims=True)
    p = np.tile(y.mean(0), (len(y), 1))
    means = {name: values.mean() for name, values in metrics.per_picture(y, p, 1e-7).items()}
    published = {
        "ped": 0.1668,
        "cheb": 0.1083,
        "pkl": 0.2623,
        "cos": 0.9231,
        "emd_r1": 0.0636,
        "emd_r2": 0.0893,
    }
    for name, value in published.items():
        assert means[name] == pytest.approx(value, rel=0.1)
