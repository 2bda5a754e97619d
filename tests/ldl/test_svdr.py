"""The reconstruction of SVDR against SLSQP with hard constraints, and its options."""

import numpy as np
import pytest
import scipy.optimize

from mtp.ldl import svdr
from mtp.ldl.params import LdlError


def constrained_optimum(x, d, c, epsilon):
    """SLSQP on W, b with f >= 0 and rows that sum to one."""
    features, k = x.shape[1], d.shape[1]

    def split(v):
        return v[: features * k].reshape(features, k), v[features * k :]

    def value(v):
        w, b = split(v)
        residual = d - x @ w - b
        length = np.linalg.norm(residual, axis=1)
        excess = np.maximum(length - epsilon, 0)
        slope = -2 * c * (excess / length)[:, None] * residual
        return 0.5 * np.square(w).sum() + c * np.square(excess).sum(), np.concatenate(
            [(w + x.T @ slope).ravel(), slope.sum(axis=0)]
        )

    constraints = [
        {"type": "ineq", "fun": lambda v: (x @ split(v)[0] + split(v)[1]).ravel()},
        {"type": "eq", "fun": lambda v: split(v)[0].sum(axis=1)},
        {"type": "eq", "fun": lambda v: split(v)[1].sum() - 1},
    ]
    start = np.concatenate([np.zeros(features * k), np.full(k, 1 / k)])
    found = scipy.optimize.minimize(
        value,
        start,
        jac=True,
        method="SLSQP",
        constraints=constraints,
        options={"maxiter": 2000, "ftol": 1e-12},
    )
    return found.fun, value


@pytest.mark.parametrize("seed", range(4))
def test_the_hard_constrained_optimum(key, seed):
    rng = np.random.default_rng(seed)
    x, d = rng.normal(size=(20, 3)), rng.dirichlet(np.full(4, 0.4), 20)
    best, value = constrained_optimum(x, d, 100.0, 0.05)
    fit = svdr.fit(x, d, key=key, c=100.0, epsilon=0.05, kernel="linear", tolerance=1e-13)
    reached = value(np.concatenate([fit.arrays["coefficients"].ravel(), fit.arrays["bias"]]))[0]
    assert reached == pytest.approx(best, rel=1e-4)
    f = svdr.outputs(fit, x)
    assert f.min() > -1e-3
    np.testing.assert_allclose(f.sum(axis=1), 1, atol=1e-12)


def test_the_constraint_is_active_somewhere(key):
    rng = np.random.default_rng(2)
    x, d = rng.normal(size=(20, 3)), rng.dirichlet(np.full(4, 0.4), 20)
    free = svdr.fit(x, d, key=key, c=100.0, epsilon=0.05, kernel="linear", non_negative=False)
    assert svdr.outputs(free, x).min() < -0.1


def test_projection_is_the_nearest_point():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 5))
    nearest = svdr.project(rows)
    np.testing.assert_allclose(nearest.sum(axis=1), 1, atol=1e-12)
    assert (nearest >= 0).all()
    inside = rng.dirichlet(np.ones(5), 200)
    np.testing.assert_allclose(svdr.project(inside), inside, atol=1e-12)
    # no point of the simplex is nearer: the angle at the projection is not acute
    for row, point in zip(rows, nearest, strict=True):
        assert ((inside - point) @ (row - point)).max() <= 1e-12


def test_permuted_ratings_permute_predictions(data, key):
    order = np.array([3, 0, 4, 1, 2])
    options = {"key": key, "features": 128, "tolerance": 1e-10}
    plain = svdr.predict(svdr.fit(data.x, data.d, **options), data.x)
    permuted = svdr.predict(svdr.fit(data.x, data.d[:, order], **options), data.x)
    np.testing.assert_allclose(permuted, plain[:, order], atol=2e-3)


def test_a_dear_tubeless_linear_fit_is_least_squares(data, key):
    fit = svdr.fit(
        data.x, data.d, key=key, c=1e7, epsilon=0.0, kernel="linear", non_negative=False, tolerance=1e-13
    )
    design = np.column_stack([data.x, np.ones(len(data.x))])
    oracle = design @ np.linalg.lstsq(design, data.d)[0]
    np.testing.assert_allclose(svdr.outputs(fit, data.x), oracle, atol=1e-6)


@pytest.mark.parametrize("reliability", ["votes", "variance"])
def test_few_votes_pull_less(key, reliability):
    """Two pictures of one look, voted on by 2 and by 200: the prediction is near the second."""
    x = np.tile(np.array([[0.0], [1.0]]), (10, 1)).repeat(2, axis=0)
    votes = np.tile(np.array([[2, 0], [100, 100], [2, 0], [100, 100]]), (10, 1))
    d = votes / votes.sum(axis=1, keepdims=True)
    options = {"key": key, "kernel": "linear", "epsilon": 0.0, "c": 100.0}
    plain, sensitive = (
        svdr.predict(svdr.fit(x, d, votes=votes, reliability=r, **options), x[:1])[0, 0]
        for r in ("none", reliability)
    )
    assert plain == pytest.approx(0.75, abs=0.01) and sensitive < plain - 0.02


def test_refinement_moves_labels_of_few_votes_towards_neighbours(data, key):
    rng = np.random.default_rng(3)
    few = np.array([rng.multinomial(3, p) for p in data.truth])
    d = few / 3
    refined = svdr._refined(svdr.checks.training(data.x, d), few, 6.0, key)
    np.testing.assert_allclose(refined.sum(axis=1), 1)
    assert np.square(refined - data.truth).sum() < 0.5 * np.square(d - data.truth).sum()


def test_the_extensions_need_votes(data, key):
    for options in ({"reliability": "votes"}, {"refine": 1.0}):
        with pytest.raises(LdlError, match="needs votes"):
            svdr.fit(data.x, data.d, key=key, **options)
