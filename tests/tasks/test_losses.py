"""Losses: equal to the metrics and to scipy, finite gradients, no influence of what is masked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy.special import log_softmax, softmax

from mtp.evaluation import metrics
from mtp.tasks import losses

RNG = np.random.default_rng(0)
TRUTH = RNG.dirichlet(np.ones(10), 6).astype(np.float32)
LOGITS = RNG.normal(size=(6, 10)).astype(np.float32)


@pytest.mark.parametrize("r", [1, 2])
def test_emd_loss_is_the_metric(r):
    ours = losses.emd(jnp.asarray(TRUTH), jnp.asarray(LOGITS), r=r)
    truth, prediction = (x.astype(np.float64) for x in (TRUTH, softmax(LOGITS, axis=1)))
    np.testing.assert_allclose(
        ours, np.mean(np.abs(np.cumsum(truth - prediction, 1)) ** r, 1) ** (1 / r), rtol=1e-5
    )
    if r == 2:
        squared = losses.emd(jnp.asarray(TRUTH), jnp.asarray(LOGITS), squared=True)
        np.testing.assert_allclose(
            squared, metrics.emd(truth / truth.sum(1, keepdims=True), prediction, 2) ** 2, rtol=1e-4
        )


def test_emd_has_a_finite_gradient_where_truth_and_prediction_agree():
    logits = jnp.log(jnp.asarray(TRUTH))
    value, gradient = jax.value_and_grad(lambda x: losses.emd(jnp.asarray(TRUTH), x).sum())(logits)
    assert abs(float(value)) < 1e-5
    assert jnp.isfinite(gradient).all() and jnp.abs(gradient).max() < 1


def test_emd_gradient_is_the_finite_difference():
    with jax.enable_x64(True):
        truth, logits = jnp.asarray(TRUTH, jnp.float64), jnp.asarray(LOGITS, jnp.float64)
        direction = jnp.asarray(RNG.normal(size=LOGITS.shape))

        def value(t):
            p = jax.nn.softmax(logits + t * direction)
            return jnp.sum(jnp.sqrt(jnp.mean(jnp.square(jnp.cumsum(truth - p, 1)), 1)))

        expected = (value(1e-5) - value(-1e-5)) / 2e-5
    gradient = jax.grad(lambda x: losses.emd(jnp.asarray(TRUTH), x).sum())(jnp.asarray(LOGITS))
    assert float(jnp.vdot(gradient, jnp.asarray(direction, jnp.float32))) == pytest.approx(
        float(expected), rel=1e-3
    )


def test_mean_rating_is_the_distance_of_the_means_and_never_above_emd():
    found = losses.mean_rating(jnp.asarray(TRUTH), jnp.asarray(LOGITS))
    distance = np.abs((TRUTH - softmax(LOGITS, axis=1)) @ np.arange(1, 11))
    np.testing.assert_allclose(found, distance / 10, atol=1e-6)
    assert np.all(found <= losses.emd(jnp.asarray(TRUTH), jnp.asarray(LOGITS), r=1) + 1e-6)


def test_cross_entropies_are_the_log_likelihoods():
    high = np.array([1, 0, 1, 1, 0, 0], np.float32)
    pairs = LOGITS[:, :2]
    expected = -log_softmax(pairs, axis=1)[np.arange(6), high.astype(int)]
    np.testing.assert_allclose(
        losses.two_category(jnp.asarray(high), jnp.asarray(pairs)), expected, rtol=1e-5
    )
    kinds = RNG.integers(0, 10, 6)
    labels = np.eye(10, dtype=np.float32)[kinds]
    expected = -log_softmax(LOGITS, axis=1)[np.arange(6), kinds]
    np.testing.assert_allclose(
        losses.cross_entropy(jnp.asarray(labels), jnp.asarray(LOGITS)), expected, rtol=1e-5
    )


def test_sigmoid_cross_entropy_stays_finite_for_large_logits():
    labels = jnp.asarray([[1.0, 0.0, 1.0]])
    value = losses.style_bce(labels, jnp.asarray([[200.0, -200.0, -200.0]]))
    np.testing.assert_allclose(value, [200 / 3], rtol=1e-6)


def test_weight_zero_gives_exactly_no_value_and_no_gradient():
    weights = jnp.asarray([1.0, 0.0, 2.0, 1.0, 0.0, 1.0])

    def total(logits):
        return losses.weighted_sum(losses.emd(jnp.asarray(TRUTH), logits), weights, 6.0)

    gradient = jax.grad(total)(jnp.asarray(LOGITS))
    np.testing.assert_array_equal(gradient[jnp.asarray([1, 4])], 0)
    assert (jnp.abs(gradient[jnp.asarray([0, 2, 3, 5])]).max(axis=1) > 0).all()
    kept = np.flatnonzero(weights)
    alone = losses.weighted_sum(
        losses.emd(jnp.asarray(TRUTH[kept]), jnp.asarray(LOGITS[kept])), weights[kept], 6.0
    )
    assert float(total(jnp.asarray(LOGITS))) == pytest.approx(float(alone), rel=1e-6)


@pytest.mark.parametrize("shape", [(6, 1), (1, 10), (6, 9), (10,)])
def test_shapes_that_would_broadcast_are_refused(shape):
    with pytest.raises((ValueError, TypeCheckError), match=r"shape|Type-check"):
        losses.emd(jnp.asarray(TRUTH), jnp.ones(shape, jnp.float32))


def test_weights_that_would_broadcast_are_refused():
    with pytest.raises((ValueError, TypeCheckError), match=r"shape|Type-check"):
        losses.weighted_sum(jnp.ones((6,)), jnp.ones((6, 1)), 1.0)
