"""LDSVR: the sigmoid, empty bins, kernels exact and approximate."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.special import logit

from mtp.evaluation import metrics
from mtp.ldl import irwls, kernels, ldsvr
from mtp.ldl.params import LdlError


def test_it_learns(data, key):
    fit = ldsvr.fit(data.x, data.d, key=key, c=10.0, epsilon=0.02)
    error = metrics.ped(data.truth, ldsvr.predict(fit, data.x)).mean()
    constant = metrics.ped(data.truth, np.tile(data.d.mean(axis=0), (120, 1))).mean()
    assert fit.convergence.converged and error < 0.5 * constant


def test_kernel_and_width(data):
    distances = squareform(pdist(data.x))
    mean = pdist(data.x).mean()
    assert kernels.width(data.x, 0.5) == pytest.approx(0.5 * mean)
    np.testing.assert_allclose(
        kernels.rbf(data.x, data.x, mean), np.exp(-np.square(distances) / (2 * mean**2)), atol=1e-12
    )


def test_fourier_features_approach_the_kernel(data, key):
    exact = kernels.rbf(data.x, data.x, 4.0)
    errors = []
    for m in (256, 4096):
        phi = kernels.fourier(data.x, *kernels.frequencies(6, m, 4.0, key))
        errors.append(np.abs(phi @ phi.T - exact).mean())
    assert errors[1] < 0.02 and errors[1] < 0.4 * errors[0]


def test_large_feature_matrices_are_single(data, key, monkeypatch):
    omega, phase = kernels.frequencies(6, 64, 4.0, key)
    exact = kernels.fourier(data.x, omega, phase)
    monkeypatch.setattr(kernels, "WIDE", 1)
    single = kernels.fourier(data.x, omega, phase)
    assert (exact.dtype, single.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(single, exact, atol=1e-5)


def test_fourier_features_predict_like_the_exact_kernel(data, key):
    exact = ldsvr.predict(ldsvr.fit(data.x, data.d, key=key), data.x)
    rough = ldsvr.predict(ldsvr.fit(data.x, data.d, key=key, features=4096), data.x)
    assert np.abs(rough - exact).mean() < 0.005


def test_beyond_the_dual_it_takes_features(data, key, monkeypatch):
    monkeypatch.setattr(ldsvr, "DUAL_ROWS", 100)
    fit = ldsvr.fit(data.x, data.d, key=key)
    assert fit.options["fourier_features"] == 2048 and fit.arrays["omega"].shape == (6, 2048)


def test_targets_of_empty_bins(data, key):
    """1 / (10 K) in each, renormalised; or votes + 1/2."""
    d = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(
        ldsvr._positive(d, None, "fill")[0], np.array([0.5, 0.5, 1 / 30]) / (1 + 1 / 30)
    )
    np.testing.assert_allclose(ldsvr._positive(d, d * 4, "jeffreys")[1], np.array([0.5, 4.5, 0.5]) / 5.5)
    with pytest.raises(LdlError, match="needs votes"):
        ldsvr.fit(data.x, data.d, key=key, zeros="jeffreys")


def test_only_rows_outside_the_tube_are_kept(data, key):
    fit = ldsvr.fit(data.x, data.d, key=key, epsilon=0.2, tolerance=1e-13)
    assert 0 < len(fit.arrays["x"]) < len(data.x)
    f = logit(ldsvr._positive(data.d, None, "fill"))
    inside = irwls.Tube(1.0, 0.2, 0.25).excess(f - ldsvr._outputs(fit, data.x)) == 0
    kept = (data.x[:, None] == fit.arrays["x"][None]).all(axis=2).any(axis=1)
    assert not (inside & kept).any()


def test_the_width_of_many_rows_is_near_that_of_all():
    x = np.random.default_rng(0).normal(size=(3000, 4))
    assert kernels.width(x, 1.0) == pytest.approx(pdist(x).mean(), rel=0.02)


def test_equal_rows_have_no_width(key):
    with pytest.raises(LdlError, match="all rows are equal"):
        ldsvr.fit(np.ones((4, 2)), np.tile([[0.5, 0.5]], (4, 1)), key=key)
