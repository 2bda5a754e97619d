"""Distances between histograms against scipy and closed forms."""

import csv

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy import stats
from scipy.spatial import distance

from mtp.evaluation import distances
from mtp.evaluation.metrics import per_picture
from mtp.evaluation.samples import Criteria


def simplex(n, k=10, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.7), n)


Y, P = simplex(40), simplex(40, seed=1)
CRITERIA = Criteria(threshold=5.0, delta=1.0, pkl_floor=1e-7)


def one_hot(*places, k=10):
    return np.eye(k)[[place - 1 for place in places]]


def test_emd_of_one_hots_has_its_closed_form():
    far, near = (one_hot(1), one_hot(10)), (one_hot(4), one_hot(5))
    np.testing.assert_allclose(distances.emd(*far, 1), 0.9)
    np.testing.assert_allclose(distances.emd(*far, 2), np.sqrt(0.9))
    np.testing.assert_allclose(distances.emd(*near, 1), 0.1)
    np.testing.assert_allclose(distances.emd(*near, 2), np.sqrt(0.1))


def test_emd_is_scipys_wasserstein_distance():
    ratings = np.arange(1, 11)
    expected = [stats.wasserstein_distance(ratings, ratings, y, p) / 10 for y, p in zip(Y, P, strict=True)]
    np.testing.assert_allclose(distances.emd(Y, P, 1), expected)


def test_emd_takes_the_root_of_each_picture():
    both = distances.emd(Y[:2], P[:2], 2)
    np.testing.assert_allclose(both, [distances.emd(Y[i : i + 1], P[i : i + 1], 2)[0] for i in (0, 1)])
    batch_rms = np.sqrt(np.mean(np.square(np.cumsum(Y[:2] - P[:2], axis=1))))
    assert abs(both.mean() - batch_rms) > 1e-4


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (distances.ped, distance.euclidean),
        (distances.cheb, distance.chebyshev),
        (distances.ped_sq, distance.sqeuclidean),
    ],
)
def test_distances_are_scipys(ours, theirs):
    np.testing.assert_allclose(ours(Y, P), [theirs(y, p) for y, p in zip(Y, P, strict=True)])


def test_cosine_is_scipys():
    np.testing.assert_allclose(
        distances.cos(Y, P), [1 - distance.cosine(y, p) for y, p in zip(Y, P, strict=True)]
    )
    np.testing.assert_array_equal(distances.cos(one_hot(2), one_hot(3)), 0)


def test_divergences_are_scipys_after_the_same_floor():
    y, p = one_hot(1, 5), P[:2]
    for floor in (1e-7, 1e-3):
        a, b = (np.maximum(x, floor) / np.maximum(x, floor).sum(1, keepdims=True) for x in (y, p))
        expected = [(stats.entropy(i, j) + stats.entropy(j, i)) / 2 for i, j in zip(a, b, strict=True)]
        np.testing.assert_allclose(distances.pkl(y, p, floor), expected)
        np.testing.assert_allclose(
            distances.kl(y, p, floor), [stats.entropy(i, j) for i, j in zip(y, b, strict=True)]
        )


def test_known_bounds_between_measures():
    cheb, ped, pkl = distances.cheb(Y, P), distances.ped(Y, P), distances.pkl(Y, P, 1e-7)
    assert (cheb <= ped + 1e-12).all() and (ped <= np.sqrt(10) * cheb).all() and (ped <= np.sqrt(2)).all()
    assert (pkl >= 2 * np.square(cheb)).all()


def test_reversing_the_scale_changes_no_emd_and_permuting_bins_only_emd():
    np.testing.assert_allclose(distances.emd(Y[:, ::-1], P[:, ::-1], 2), distances.emd(Y, P, 2))
    order = np.random.default_rng(3).permutation(10)
    before, after = (per_picture(a, b, CRITERIA) for a, b in ((Y, P), (Y[:, order], P[:, order])))
    for name in ("ped", "cheb", "pkl", "kl", "cos"):
        np.testing.assert_allclose(after[name], before[name])
    assert np.abs(after["emd_r1"] - before["emd_r1"]).max() > 0.01


def test_perfect_prediction():
    values = per_picture(Y, Y, CRITERIA)
    for name in ("emd_r1", "emd_r2", "ped", "ped_sq", "cheb", "pkl"):
        np.testing.assert_array_equal(values[name], 0)
    np.testing.assert_allclose(values["cos"], 1)


@pytest.mark.parametrize("wrong", [P * 2, -P, P[:, :9], P[:5]])
def test_rows_off_the_simplex_are_refused(wrong):
    with pytest.raises((ValueError, TypeCheckError), match=r"must be|Type-check"):
        per_picture(Y, wrong, CRITERIA)


def test_avas_mean_histogram_scores_as_published(shared_data):
    """The mean histogram of real AVA votes scores near its values on AVA's 25,551 pictures."""
    with (shared_data / "ava" / "ava_union_votes.csv").open() as file:
        votes = np.array([[int(row[f"c{k}"]) for k in range(1, 11)] for row in csv.DictReader(file)])
    y = votes / votes.sum(1, keepdims=True)
    p = np.tile(y.mean(0), (len(y), 1))
    means = {name: values.mean() for name, values in per_picture(y, p, CRITERIA).items()}
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
