"""Batch normalisation over the pictures of a canvas, against its definition in float64 and the automatic gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.ops import batch_norm
from mtp.ops.batch_norm import Running
from mtp.ops.canvas import valid_mask

SIDES = jnp.array([(7, 9), (3, 4), (0, 0), (5, 1)], jnp.int32)
EPSILON = 1e-3


def canvas(channels=5):
    """x with numbers of another order outside the pictures, dy that is zero there, gamma, beta."""
    rng = np.random.default_rng(0)
    inside = np.asarray(valid_mask(SIDES, 7, 9))
    x = np.where(inside, rng.normal(3, 2, (4, 7, 9, channels)), 1e3).astype(np.float32)
    dy = np.where(inside, rng.normal(size=x.shape), 0).astype(np.float32)
    gamma, beta = rng.uniform(0.5, 2, (2, channels)).astype(np.float32)
    return tuple(map(jnp.asarray, (x, dy, gamma, beta)))


def cells(x):
    """(N, C): the pictures' cells, float64."""
    sides = np.asarray(SIDES)
    inside = [x[b, 7 - h :, 9 - w :].reshape(-1, x.shape[-1]) for b, (h, w) in enumerate(sides)]
    return np.concatenate(inside).astype(np.float64)


def running(frozen, channels=5):
    return Running(jnp.linspace(-1, 1, channels), jnp.linspace(1, 3, channels), frozen)


@pytest.mark.parametrize("moments", [batch_norm.moments, batch_norm.moments_in_one_pass])
def test_moments_are_those_of_all_cells_together(moments):
    x, *_ = canvas()
    mean, variance = moments(x, SIDES, jnp.zeros(5))
    np.testing.assert_allclose(mean, cells(x).mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, cells(x).var(0), rtol=1e-5)


def test_moments_in_one_pass_are_exact_where_the_guess_is_near_a_large_mean():
    x, *_ = canvas()
    mean, variance = batch_norm.moments_in_one_pass(x + 4096, SIDES, jnp.full(5, 4098.0))
    np.testing.assert_allclose(mean, cells(x).mean(0) + 4096, rtol=1e-6)
    np.testing.assert_allclose(variance, cells(np.asarray(x) + 4096).var(0), rtol=1e-5)


def test_equal_cells_have_no_variance_below_zero():
    x = jnp.full((4, 7, 9, 5), 0.1, jnp.float32)
    _, variance = batch_norm.moments_in_one_pass(x, SIDES, jnp.zeros(5))
    assert (np.asarray(variance) >= 0).all()


@pytest.mark.parametrize("frozen", [False, True])
def test_values_are_the_definitions(frozen):
    x, _, gamma, beta = canvas()
    y, mean, variance = batch_norm.normalised(x, SIDES, gamma, beta, running(frozen), EPSILON)
    np.testing.assert_allclose(mean, cells(x).mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, cells(x).var(0), rtol=1e-5)
    used = running(True)[:2] if frozen else (cells(x).mean(0), cells(x).var(0))
    expected = gamma * (cells(x) - used[0]) / np.sqrt(used[1] + EPSILON) + beta
    np.testing.assert_allclose(cells(y), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_are_the_automatic_ones(frozen):
    x, dy, gamma, beta = canvas()

    def directly(x, gamma, beta):
        old = running(frozen)
        mean, variance = (
            jnp.where(frozen, a, b)
            for a, b in zip(old[:2], batch_norm.moments(x, SIDES, old.mean), strict=True)
        )
        return gamma * (x - mean) / jnp.sqrt(variance + EPSILON) + beta

    def ours(x, gamma, beta):
        return batch_norm.normalised(x, SIDES, gamma, beta, running(frozen), EPSILON)[0]

    expected, mine = (jax.vjp(f, x, gamma, beta)[1](dy) for f in (directly, ours))
    inside = valid_mask(SIDES, 7, 9)
    for a, b in zip(mine, (jnp.where(inside, expected[0], 0), *expected[1:]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_a_batch_without_pictures_gives_finite_numbers():
    x, dy, gamma, beta = canvas()
    empty = jnp.zeros_like(SIDES)
    y, pull_back = jax.vjp(
        lambda x: batch_norm.normalised(x, empty, gamma, beta, running(False), EPSILON)[0], x
    )
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(pull_back(dy)[0], 0)
