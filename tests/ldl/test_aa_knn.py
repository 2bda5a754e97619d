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


def features_that_float32_cannot_rank(case: str) -> np.ndarray:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(256, 3))
    match case:
        case "grid":
            # a mean of 256 whole numbers is a float, and centring exact
            return rng.integers(-2, 3, (256, 3)).astype(float)
        case "duplicates":
            return x[rng.integers(20, size=256)]
        case "clusters":
            return x + 1e7 * rng.integers(2, size=(256, 1))
        case "outlier":
            return np.concatenate([x[:-1], [[1e12, -1e12, 3e11]]])
        case "decades":
            return x * 10.0 ** rng.integers(-9, 10, (256, 1))
        case "tiny":
            return 1e-100 * x
        case "huge":
            return 1e120 * x
    raise ValueError(case)


@pytest.mark.parametrize("case", ["grid", "duplicates", "clusters", "outlier", "decades", "tiny", "huge"])
@pytest.mark.parametrize("k", [1, 7, 100, 256])
def test_neighbours_are_the_sorted_distances(key, case, k):
    x = features_that_float32_cannot_rank(case)
    fit = aa_knn.fit(x, np.tile([[0.5, 0.5]], (256, 1)), key=key, k=k)
    queries = np.concatenate([x, x[:40] + 0.5 * x[40:80], 1e30 * x[:3]])
    apart = queries[:, None] - x
    np.testing.assert_array_equal(
        aa_knn.neighbours(fit, queries, k),
        np.argsort(np.einsum("qnd,qnd->qn", apart, apart), axis=1, kind="stable")[:, :k],
    )


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("rows", [6, 50, 1000])
def test_among_equally_near_rows_the_first_in_whole_numbers(key, metric, rows):
    """Against exact arithmetic: of features in whole numbers whose mean is none most rows have equals."""
    rng = np.random.default_rng(rows)
    x, queries = rng.integers(-9, 10, (rows, 3)), rng.integers(-9, 10, (600, 3))
    x[:, 0], queries[:, 0] = np.maximum(x[:, 0], 1), np.maximum(queries[:, 0], 1)  # no row of zeros
    if metric == "l2":
        distance = np.square(queries[:, None] - x).sum(axis=2)
    else:
        # rows that point the same way are equally near; of all others the order is by the cosine
        reduced = x // np.gcd.reduce(x, axis=1)[:, None]
        way = np.unique(reduced, axis=0, return_inverse=True)[1].ravel()
        first = np.unique(way, return_index=True)[1]
        unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        cosine = unit @ (reduced[first] / np.linalg.norm(reduced[first], axis=1, keepdims=True)).T
        distance = (-cosine.round(12))[:, way]
    k = max(1, rows // 10)
    fit = aa_knn.fit(x.astype(float), np.tile([[0.5, 0.5]], (rows, 1)), key=key, k=k, metric=metric)
    found = aa_knn.neighbours(fit, queries.astype(float), k)
    wanted = np.argsort(distance, axis=1, kind="stable")[:, :k]
    if metric == "l2":
        np.testing.assert_array_equal(found, wanted)
    else:
        # rows of different directions with one cosine may stand in either order: only the first of a direction counts
        np.testing.assert_array_equal(
            np.take_along_axis(distance, found, axis=1), np.take_along_axis(distance, wanted, axis=1)
        )
        for row in found:
            for direction in np.unique(way[row]):
                chosen = row[way[row] == direction]
                np.testing.assert_array_equal(chosen, np.flatnonzero(way == direction)[: len(chosen)])


@pytest.mark.parametrize("case", ["grid", "duplicates", "clusters"])
@pytest.mark.parametrize("skip_self", [False, True])
def test_predictions_are_means_over_neighbours(key, case, skip_self):
    rng = np.random.default_rng(8)
    x, d, weight = (
        features_that_float32_cannot_rank(case),
        rng.dirichlet(np.ones(4), 256),
        rng.uniform(1, 2, 256),
    )
    fit = aa_knn.fit(x, d, weight=weight, key=key, k=6)
    near = aa_knn.neighbours(fit, x, 6 + skip_self, skip_self=skip_self)
    assert near.shape == (256, 6) and not (skip_self and (near == np.arange(256)[:, None]).any())
    wanted = np.average(d[near], axis=1, weights=np.repeat(weight[near][:, :, None], 4, axis=2))
    np.testing.assert_allclose(aa_knn.predict(fit, x, skip_self=skip_self), wanted, atol=1e-14)


@pytest.mark.parametrize("d", [1, 30, 300])
def test_the_limit_covers_the_products_error(d):
    """Of rows of very different lengths, none of the k nearest has a product beyond it."""
    rng = np.random.default_rng(d)
    rows, queries = (rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-4, 1, (n, 1)) for n in (500, 200))
    factors = aa_knn._factors(rows, queries, 5)
    for kind in (np.float32, np.float64):
        products = (factors.left.astype(kind) @ factors.right.astype(kind))[:, :500]
        limit = aa_knn._limit(products, factors.squares, d, 5)
        distances = np.square(queries[:, None] - rows).sum(axis=2)
        near = np.argsort(distances, axis=1)[:, :5]
        assert (np.take_along_axis(products, near, axis=1) <= limit).all()


def test_no_queries(data, key):
    fit = aa_knn.fit(data.x, data.d, key=key, k=5)
    assert aa_knn.predict(fit, np.zeros((0, 6))).shape == (0, 5)


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
