"""The tasks' losses, one value a picture; masks and weights are arguments of the sum, never hidden inside."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def _same_shape(truth: Array, logits: Array) -> None:
    if truth.shape != logits.shape:
        raise ValueError(
            f"labels and logits must have one shape; labels {truth.shape}, logits {logits.shape}"
        )


def emd(
    truth: Float[Array, "B K"], logits: Float[Array, "B K"], *, r: int = 2, squared: bool = False
) -> Float[Array, " B"]:
    """Earth mover's distance between histograms, (1/K sum_k |CDF(k) - CDF'(k)|^r)^(1/r) (Eq. 2).

    The root is taken for each picture. squared: leave the root out (with r = 2 the mean square). Where truth
    and prediction agree the value and its gradient are zero.
    """
    _same_shape(truth, logits)
    difference = jnp.cumsum(truth - jax.nn.softmax(logits.astype(jnp.float32)), axis=-1)
    if r == 1:
        return jnp.mean(jnp.abs(difference), axis=-1)
    mean_square = jnp.mean(jnp.square(difference), axis=-1)
    if squared:
        return mean_square
    # below float32's rounding of a CDF the two agree; the root's gradient there would be infinite
    apart = mean_square > 1e-14
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, mean_square, 1.0)), 0.0)


def mean_rating(truth: Float[Array, "B K"], logits: Float[Array, "B K"]) -> Float[Array, " B"]:
    """Distance of the mean ratings in 1/K of the scale, |1/K sum_k [CDF(k) - CDF'(k)]|.

    What the means alone tell of Eq. 2 with r = 1, which is never below it.
    """
    _same_shape(truth, logits)
    difference = jnp.cumsum(truth - jax.nn.softmax(logits.astype(jnp.float32)), axis=-1)
    return jnp.abs(jnp.mean(difference, axis=-1))


def two_category(high: Float[Array, " B"], logits: Float[Array, "B 2"]) -> Float[Array, " B"]:
    """Softmax cross-entropy of low (0) against high (1) quality (Eq. 3), nats."""
    if logits.shape != (*high.shape, 2):
        raise ValueError(
            f"two-category labels (B,) need logits (B, 2); labels {high.shape}, logits {logits.shape}"
        )
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -(high * log_p[:, 1] + (1 - high) * log_p[:, 0])


def cross_entropy(labels: Float[Array, "B S"], logits: Float[Array, "B S"]) -> Float[Array, " B"]:
    """Softmax cross-entropy, nats; labels are rows that sum to one: of one style a picture (Eq. 4), or histograms."""
    _same_shape(labels, logits)
    return -jnp.sum(labels * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)


def style_bce(labels: Float[Array, "B S"], logits: Float[Array, "B S"]) -> Float[Array, " B"]:
    """Sigmoid cross-entropy, the mean over styles, nats: for data with several styles a picture."""
    _same_shape(labels, logits)
    logits = logits.astype(jnp.float32)
    per_style = jax.nn.softplus(logits) - labels * logits
    return jnp.mean(per_style, axis=-1)


def weighted_sum(
    values: Float[Array, " B"], weights: Float[Array, " B"], denominator: float
) -> Float[Array, ""]:
    """sum(weights * values) / denominator.

    A row of weight zero (filler, or without the label) gives exactly zero value and gradient; its labels must
    be finite (zeros), as the pipeline hands them over.
    """
    if values.shape != weights.shape:
        raise ValueError(f"losses {values.shape} and weights {weights.shape} must have one shape (B,)")
    return jnp.sum(jnp.where(weights > 0, weights * values, 0.0)) / denominator
