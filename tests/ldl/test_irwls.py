"""The joint-tube solver against L-BFGS on the primal, ridge regression, and its optimality conditions."""

import numpy as np
import pytest
import scipy.optimize
from sklearn.linear_model import Ridge

from mtp.ldl import irwls, kernels, systems

CASES = [
    (0.25, 1.0, 0.1),
    (0.25, 10.0, 0.1),
    (0.25, 1.0, 0.3),
    (0.25, 0.1, 0.01),
    (1.0, 10.0, 0.2),
    (1.0, 1.0, 0.0),
]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    target = np.sin(x @ rng.normal(size=(4, 5))) * 2 + rng.normal(size=(60, 5)) * 0.3
    weight = rng.uniform(0.5, 2, 60)
    return x, target, weight / weight.mean()


def primal_optimum(phi, target, weight, tube):
    """L-BFGS on the objective and its gradient, written out."""
    shape = (phi.shape[1] + 1, target.shape[1])
    phi = np.column_stack([phi, np.ones(len(phi))])

    def value(flat):
        w = flat.reshape(shape)
        residual = target - phi @ w
        length = np.linalg.norm(residual, axis=1)
        excess = np.maximum(tube.scale * length - tube.epsilon, 0)
        pull = 2 * tube.c * tube.scale * weight * excess / length
        gradient = -phi.T @ (pull[:, None] * residual)
        gradient[:-1] += w[:-1]
        return 0.5 * np.square(w[:-1]).sum() + tube.c * weight @ np.square(excess), gradient.ravel()

    options = {"maxiter": 20000, "maxfun": 50000, "ftol": 0.0, "gtol": 1e-9, "maxcor": 50}
    return scipy.optimize.minimize(
        value, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options
    ).fun


@pytest.mark.parametrize(("scale", "c", "epsilon"), CASES)
def test_both_forms_reach_the_primal_optimum(problem, scale, c, epsilon):
    x, target, weight = problem
    kernel, tube = kernels.rbf(x, x, 2.0), irwls.Tube(c, epsilon, scale)
    root = np.linalg.cholesky(kernel + 1e-12 * np.eye(len(x)))
    best = primal_optimum(root, target, weight, tube)
    for form in (systems.Dual(kernel), systems.Primal(root)):
        _, record = irwls.minimise(form, target, weight, tube, 500, 1e-12)
        assert record.converged and (np.diff(record.objective) < 0).all()
        assert record.objective[-1] == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize(("scale", "c", "epsilon"), CASES[:5])
def test_optimality_conditions(problem, scale, c, epsilon):
    """beta_i = a_i e_i, which is zero inside the tube, and each output's coefficients sum to zero."""
    x, target, weight = problem
    tube = irwls.Tube(c, epsilon, scale)
    state, _ = irwls.minimise(systems.Dual(kernels.rbf(x, x, 2.0)), target, weight, tube, 500, 1e-14)
    residual = target - state.fitted
    a = tube.row_weights(residual, weight)
    largest = np.abs(state.coefficients).max()
    np.testing.assert_allclose(state.coefficients, a[:, None] * residual, atol=1e-5 * largest)
    np.testing.assert_allclose(state.coefficients.sum(axis=0), 0, atol=1e-8 * largest)


def test_without_a_tube_it_is_ridge_regression(problem):
    x, target, _ = problem
    for scale, c in ((0.25, 3.0), (1.0, 0.5)):
        state, _ = irwls.minimise(
            systems.Primal(x), target, np.ones(60), irwls.Tube(c, 0.0, scale), 500, 1e-12
        )
        oracle = Ridge(alpha=1 / (2 * c * scale**2)).fit(x, target)
        np.testing.assert_allclose(state.fitted, oracle.predict(x), atol=1e-10)


def test_linear_kernel_and_linear_features_agree(problem):
    x, target, weight = problem
    tube = irwls.Tube(2.0, 0.1, 1.0)
    dual, _ = irwls.minimise(systems.Dual(x @ x.T), target, weight, tube, 500, 1e-13)
    primal, _ = irwls.minimise(systems.Primal(x), target, weight, tube, 500, 1e-13)
    np.testing.assert_allclose(x.T @ dual.coefficients, primal.coefficients, atol=1e-5)
    np.testing.assert_allclose(dual.bias, primal.bias, atol=1e-5)


def test_rows_of_distributions_sum_to_one_by_themselves():
    rng = np.random.default_rng(1)
    x, d = rng.normal(size=(40, 3)), rng.dirichlet(np.ones(6), 40)
    for form in (systems.Primal(x), systems.Dual(kernels.rbf(x, x, 1.5))):
        state, _ = irwls.minimise(form, d, np.ones(40), irwls.Tube(10.0, 0.05, 1.0), 500, 1e-12)
        np.testing.assert_allclose(state.fitted.sum(axis=1), 1, atol=1e-12)


def test_a_wide_tube_leaves_the_mean(problem):
    x, target, weight = problem
    state, record = irwls.minimise(systems.Primal(x), target, weight, irwls.Tube(1.0, 1e3, 1.0), 500, 1e-12)
    assert record.converged and "inside the tube" in record.reason
    np.testing.assert_allclose(state.fitted, np.tile(weight @ target / weight.sum(), (60, 1)))


def test_too_few_iterations_are_recorded(problem):
    x, target, weight = problem
    _, record = irwls.minimise(systems.Primal(x), target, weight, irwls.Tube(10.0, 0.2, 1.0), 1, 1e-14)
    assert not record.converged and record.iterations == 1


def test_float32_features_come_within_their_rounding(problem):
    x, target, weight = problem
    tube = irwls.Tube(10.0, 0.2, 1.0)
    exact, _ = irwls.minimise(systems.Primal(x), target, weight, tube, 500, 1e-12)
    single, _ = irwls.minimise(systems.Primal(x.astype(np.float32)), target, weight, tube, 500, 1e-10)
    np.testing.assert_allclose(single.fitted, exact.fitted, atol=1e-4)
