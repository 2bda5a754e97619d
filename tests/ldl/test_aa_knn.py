"""AA-kNN against scikit-learn, ties, duplicates."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from mtp.ldl import aa_knn
from mtp.ldl.params import LdlError


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("k", [1, 7, 120])
def test_scikit_learns_neighbours(data, key, metric, k):
    oracle = KNeighborsRegressor(k, metric={"l2": "euclidean", "cosine": "cosine"}[metric], algorithm="brute")
    queries = np.random.default_rng(5).normal(size=(33, 6))
    fit = aa_knn.fit(data.x, data.d, key=key, k=k, metric=metric)
    np.testing.assert_allclose(
        aa_knn.predict(fit, queries), oracle.fit(data.x, data.d).predict(queries), atol=1e-12
    )


def test_far_from_the_origin_nothing_is_lost(data, key):
    near, far = (aa_knn.fit(data.x + shift, data.d, key=key, k=5) for shift in (0, 1e7))
    np.testing.assert_array_equal(
        aa_knn.neighbours(near, data.x[:20], 5), aa_knn.neighbours(far, data.x[:20] + 1e7, 5)
    )


def test_all_rows_are_the_mean_histogram_and_one_is_its_own(data, key):
    everyone = aa_knn.fit(data.x, data.d, key=key, k=len(data.x))
    np.testing.assert_allclose(
        aa_knn.predict(everyone, data.x[:3]), np.tile(data.d.mean(0), (3, 1)), atol=1e-12
    )
    itself = aa_knn.fit(data.x, data.d, key=key, k=1)
    np.testing.assert_allclose(aa_knn.predict(itself, data.x), data.d, atol=1e-12)


def test_leave_one_out(data, key):
    fit = aa_knn.fit(data.x, data.d, key=key, k=3)
    near = aa_knn.neighbours(fit, data.x, 4)
    left = aa_knn.neighbours(fit, data.x, 4, skip_self=True)
    np.testing.assert_array_equal(near[:, 1:], left)
    np.testing.assert_allclose(
        aa_knn.predict(fit, data.x, skip_self=True), data.d[left].mean(axis=1), atol=1e-12
    )


def test_ties_go_to_the_first_rows_in_any_tile(key, monkeypatch):
    x = np.tile(np.array([[0.0], [1.0]]), (50, 1))
    fit = aa_knn.fit(x, np.tile([[0.5, 0.5]], (100, 1)), key=key, k=4)
    for tile in (aa_knn.TILE, 150):
        monkeypatch.setattr(aa_knn, "TILE", tile)
        np.testing.assert_array_equal(
            aa_knn.neighbours(fit, np.array([[0.0], [1.0], [0.1]]), 4),
            [[0, 2, 4, 6], [1, 3, 5, 7], [0, 2, 4, 6]],
        )


def test_weights_of_neighbours(key):
    x = np.array([[0.0], [1.0], [50.0]])
    fit = aa_knn.fit(x, np.eye(3), weight=np.array([1.0, 3.0, 1.0]), key=key, k=2)
    np.testing.assert_allclose(aa_knn.predict(fit, np.array([[0.2]])), [[0.25, 0.75, 0]])


def test_bad_k_and_zero_rows(data, key):
    for k in (0, 121):
        with pytest.raises(LdlError, match=r"k must lie in 1\.\.n, n = 120"):
            aa_knn.fit(data.x, data.d, key=key, k=k)
    with pytest.raises(LdlError, match="cosine"):
        aa_knn.fit(np.zeros((3, 2)), np.eye(3), key=key, k=1, metric="cosine")
