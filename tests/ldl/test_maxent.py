"""IIS-LLD and BFGS-LLD: one convex model, two optimisers, and scikit-learn's."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from mtp.ldl import bfgs_lld, checks, iis_lld, maxent
from mtp.ldl.params import ConvergenceWarning, LdlError


def expanded(x, d, weight):
    """Each row once a rating, weighted with its share: logistic regression on it has the same objective."""
    k = d.shape[1]
    return np.repeat(x, k, axis=0), np.tile(np.arange(k), len(x)), (d * weight[:, None]).ravel()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("penalty", [0.01, 0.1])
def test_bfgs_is_scikit_learns_weighted_logistic_regression(data, key, bias, penalty):
    weight = np.random.default_rng(1).uniform(0.5, 2, len(data.x))
    weight /= weight.mean()
    ours = bfgs_lld.fit(
        data.x, data.d, weight=weight, key=key, penalty=penalty, bias=bias, init="zeros", tolerance=1e-10
    )
    c = 1 / (penalty * len(data.x))
    oracle = LogisticRegression(C=c, fit_intercept=bias, tol=1e-12, max_iter=5000)
    rows, labels, sample_weight = expanded(data.x, data.d, weight)
    oracle.fit(rows, labels, sample_weight=sample_weight)
    np.testing.assert_allclose(bfgs_lld.predict(ours, data.x), oracle.predict_proba(data.x), atol=1e-6)


def test_gradient_vanishes_at_the_optimum(data, key):
    fit = bfgs_lld.fit(data.x, data.d, key=key, tolerance=1e-9)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(a) for a in (maxent.with_bias(data.x, True), data.d, np.ones(len(data.x)))]
        gradient = jax.grad(maxent.loss)(jnp.asarray(fit.arrays["w"]), *arrays)
    assert np.abs(gradient).max() / len(data.x) < 1e-8


@pytest.mark.parametrize("solver", iis_lld.SOLVERS)
def test_iis_creeps_to_the_bfgs_optimum_and_never_rises(data, key, solver):
    best = bfgs_lld.fit(data.x, data.d, key=key, tolerance=1e-10).convergence.objective[-1] * len(data.x)
    fit = iis_lld.fit(data.x, data.d, key=key, solver=solver, iterations=5000, tolerance=1e-11)
    values = np.array(fit.convergence.objective)
    assert fit.convergence.converged and (np.diff(values) <= 1e-9).all()
    assert 0 <= values[-1] - best < 1e-6 * best + 1e-9


def test_overrelaxed_steps_are_a_fraction_of_the_closed_forms(data, key):
    options = {"key": key, "iterations": 5000, "tolerance": 1e-9}
    plain, bold = (iis_lld.fit(data.x, data.d, solver=s, **options) for s in ("closed", "overrelaxed"))
    assert len(bold.convergence.objective) < len(plain.convergence.objective) / 3
    assert bold.convergence.objective[-1] <= plain.convergence.objective[-1] + 1e-9


def test_solvers_agree_where_rows_have_one_length(data, key):
    x = data.x / np.abs(data.x).sum(axis=1, keepdims=True)
    with pytest.warns(ConvergenceWarning):
        first, second = (
            iis_lld.fit(
                x, data.d, key=key, solver=s, bias=False, init="zeros", iterations=20, tolerance=1e-14
            )
            for s in ("newton", "closed")
        )
    np.testing.assert_allclose(first.arrays["w"], second.arrays["w"], atol=1e-12)


def test_a_step_solves_its_equations(data, key):
    """A - P(step) + N(step) = 0 for every feature and rating, each by itself."""
    x = data.x
    with pytest.warns(ConvergenceWarning):
        fit = iis_lld.fit(x, data.d, key=key, bias=False, init="zeros", iterations=1)
    step, p = fit.arrays["w"], np.full_like(data.d, 1 / data.d.shape[1])
    lengths = np.abs(x).sum(axis=1)
    reached = np.einsum("ij,ik,ikj->kj", p, x, np.exp(np.sign(x)[:, :, None] * lengths[:, None, None] * step))
    np.testing.assert_allclose(reached, x.T @ data.d, atol=1e-8)


@pytest.mark.parametrize("spread", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("shift", [0.0, 0.3, 5.0])
def test_newtons_steps_are_the_roots(data, key, spread, shift):
    """brentq's, where f_i are all alike, where interpolation serves (r < 1.8) and where it does not."""
    rng = np.random.default_rng(3)
    x = data.x / np.abs(data.x).sum(axis=1, keepdims=True) * np.exp(spread * rng.uniform(-1, 1, (120, 1)))
    start = shift * rng.normal(size=(6, 5))
    with pytest.warns(ConvergenceWarning):
        fit = iis_lld.fit(x, data.d, key=key, bias=False, init=start, iterations=1)
    p, lengths, target = softmax(x @ start, axis=1), np.abs(x).sum(axis=1), x.T @ data.d
    far = iis_lld.LARGEST / lengths.max()

    def excess(t: float, k: int, j: int) -> float:
        return p[:, j] @ (x[:, k] * np.exp(t * np.sign(x[:, k]) * lengths)) - target[k, j]

    for k, j in np.ndindex(6, 5):
        root = brentq(excess, -far, far, (k, j), xtol=1e-14, rtol=1e-14)
        np.testing.assert_allclose(
            fit.arrays["w"][k, j] - start[k, j], root, rtol=0, atol=1e-9 / lengths.max()
        )


def test_interpolation_is_as_exact_as_it_says(data):
    lengths = np.abs(data.x).sum(axis=1)
    centre, half = (lengths.max() + lengths.min()) / 2, (lengths.max() - lengths.min()) / 2
    signed = np.concatenate([data.x.clip(0), (-data.x).clip(0)], axis=1)
    t = np.random.default_rng(4).uniform(-1, 1, (5, 6)) * iis_lld.REACH / half
    with jax.enable_x64(True):
        p, x, signed, f, t = (jnp.asarray(a) for a in (data.truth.T, data.x.T, signed, lengths, t))
        nodes, basis = iis_lld._nodes(f, jnp.asarray(centre), jnp.asarray(half))
        interpolated = iis_lld._by_nodes(p, signed, nodes, basis)(t)
        exact = iis_lld._by_rows(p, x, f)(t)
        for ours, wanted in zip(interpolated[:2], exact[:2], strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-12)
        for ours, wanted in zip(interpolated[2:], exact[2:], strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-9)


def test_one_constant_feature_gives_the_mean_in_one_step(data, key):
    with pytest.warns(ConvergenceWarning):
        fit = iis_lld.fit(np.ones((120, 1)), data.d, key=key, bias=False, init="zeros", iterations=1)
    np.testing.assert_allclose(iis_lld.predict(fit, np.ones((1, 1)))[0], data.d.mean(axis=0), atol=1e-12)


def test_prior_starts_at_the_mean_histogram(data):
    w = maxent.start(checks.training(data.x, data.d), True, "prior")
    p = np.exp(w[-1]) / np.exp(w[-1]).sum()
    np.testing.assert_allclose(p, data.d.mean(axis=0), atol=1e-12)
    np.testing.assert_array_equal(w[:-1], 0)


def test_without_a_bias_the_average_row_is_uniform(data, key):
    fit = bfgs_lld.fit(data.x - data.x.mean(axis=0), data.d, key=key, bias=False, init="eye")
    np.testing.assert_allclose(bfgs_lld.predict(fit, np.zeros((1, 6))), 0.2, atol=1e-12)


def test_a_rating_that_nobody_used_is_clipped_and_counted(key):
    rng = np.random.default_rng(0)
    d = np.column_stack([rng.dirichlet(np.ones(3), 50), np.zeros(50)])
    with pytest.warns(ConvergenceWarning):
        fit = iis_lld.fit(rng.random((50, 3)), d, key=key, init="zeros", iterations=30, tolerance=1e-14)
    assert fit.options["clipped_steps"] > 0
    assert iis_lld.predict(fit, rng.random((5, 3)))[:, 3].max() < 1e-6


def test_weights_count_as_repeated_rows(data, key):
    weight = np.random.default_rng(2).integers(1, 4, len(data.x)).astype(float)
    repeated = [np.repeat(a, weight.astype(int), axis=0) for a in (data.x, data.d)]
    for fit, predict in ((bfgs_lld.fit, bfgs_lld.predict), (iis_lld.fit, iis_lld.predict)):
        options = {"iterations": 20000, "tolerance": 1e-10} if fit is iis_lld.fit else {"tolerance": 1e-9}
        one = predict(fit(data.x, data.d, weight=weight, key=key, **options), data.x)
        two = predict(fit(*repeated, key=key, **options), data.x)
        np.testing.assert_allclose(one, two, atol=2e-4)


def test_the_limit_of_iterations_warns_and_is_recorded(data, key):
    with pytest.warns(ConvergenceWarning, match="iis_lld has not converged after 3 iterations"):
        fit = iis_lld.fit(data.x, data.d, key=key, iterations=3)
    assert not fit.convergence.converged and fit.convergence.iterations == 3
    assert "limit" in fit.convergence.reason


def test_prior_needs_the_bias(data, key):
    with pytest.raises(LdlError, match="init='zeros'"):
        iis_lld.fit(data.x, data.d, key=key, bias=False, init="prior")


def test_the_rest_of_the_program_stays_in_float32(data, key):
    bfgs_lld.fit(data.x, data.d, key=key)
    assert jnp.ones(1).dtype == jnp.float32


@pytest.mark.skipif(importlib.util.find_spec("pyldl") is None, reason="python-ldl is an optional oracle")
@pytest.mark.filterwarnings("ignore")
def test_iis_is_python_ldls_from_the_same_start(data, key):
    from pyldl.algorithms import SA_IIS

    np.random.seed(0)
    theirs = SA_IIS().fit(data.x, data.d, max_iterations=10)
    np.random.seed(0)
    ours = iis_lld.fit(
        data.x, data.d, key=key, bias=False, init=np.random.random((6, 5)), iterations=10, tolerance=1e-14
    )
    np.testing.assert_allclose(iis_lld.predict(ours, data.x), theirs.predict(data.x), atol=1e-8)
