"""Batch normalisation by the moments of the pictures' cells, with its own gradient.

Derived by hand the gradient takes two sums over the map; derived automatically it takes three, one after the other.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.ops.canvas import Sizes, masked
from mtp.ops.dispatch import by_platform

Map = Float[Array, "B H W C"]
Channels = Float[Array, " C"]
Moments = tuple[Channels, Channels]
Gradients = tuple[Map, Channels, Channels]


class Running(NamedTuple):
    """Running mean and variance, and whether they are used in place of the batch's own."""

    mean: Channels
    variance: Channels
    frozen: Array | bool


class Used(NamedTuple):
    """What the gradient needs: gamma, the mean and 1 / deviation that were used, and each cell's share in them."""

    gamma: Channels
    mean: Channels
    per_deviation: Channels
    share: Float[Array, ""]


# (x, sizes, gamma, beta, running, epsilon) -> normalised x, and the mean and variance of the batch, without gradients
Normalised = Callable[[Map, Sizes, Channels, Channels, Running, float], tuple[Map, Channels, Channels]]


def affine(
    gamma: Channels, beta: Channels, mean: Channels, variance: Channels, epsilon: float
) -> tuple[Channels, Channels]:
    """Scale and shift of gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe & Szegedy 2015)."""
    scale = gamma / jnp.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def transformed(x: Map, scale: Channels, shift: Channels) -> Map:
    """x * scale + shift in float32, as x's type."""
    return (x.astype(jnp.float32) * scale + shift).astype(x.dtype)


def differentiable(
    moments: Callable[[Map, Sizes, Channels], Moments],
    gradients: Callable[[Map, Sizes, Used, Map], Gradients],
) -> Normalised:
    """The operation from its moments and its gradients by x, gamma and beta; moments also get a guess of the mean.

    Both are jitted so that the many layers of one shape are traced and lowered once.
    """
    of_batch, differentiate = jax.jit(moments), jax.jit(gradients)

    def forward(
        x: Map, sizes: Sizes, gamma: Channels, beta: Channels, running: Running, epsilon: float
    ) -> tuple[tuple[Map, Channels, Channels], tuple]:
        own = of_batch(x, sizes, running.mean)
        mean, variance = (
            jnp.where(running.frozen, old, new) for old, new in zip(running[:2], own, strict=True)
        )
        share = jnp.where(running.frozen, 0.0, 1 / _cells(sizes))
        used = Used(gamma, mean, 1 / jnp.sqrt(variance + epsilon), share)
        y = transformed(x, *affine(gamma, beta, mean, variance, epsilon))
        return (y, *own), (x, sizes, used)

    def backward(
        epsilon: float, saved: tuple, by_results: tuple[Map, Channels, Channels]
    ) -> tuple[Map, None, Channels, Channels, None]:
        dx, d_gamma, d_beta = differentiate(*saved, by_results[0])
        return dx, None, d_gamma, d_beta, None

    operation = jax.custom_vjp(lambda *arguments: forward(*arguments)[0], nondiff_argnums=(5,))
    operation.defvjp(forward, backward)
    # a type checker does not take jax's custom_vjp for a callable
    return cast(Normalised, operation)


def _cells(sizes: Sizes) -> Float[Array, ""]:
    """How many cells the pictures of a batch have together; at least 1."""
    return jnp.maximum(jnp.sum((sizes[:, 0] * sizes[:, 1]).astype(jnp.float32)), 1.0)


def moments(x: Map, sizes: Sizes, guess: Channels) -> Moments:
    """Mean and variance of each channel over the valid cells of the whole batch, float32; they need no guess."""
    count = _cells(sizes)
    wide = x.astype(jnp.float32)
    mean = jnp.sum(masked(wide, sizes), axis=(0, 1, 2)) / count
    variance = jnp.sum(masked(jnp.square(wide - mean), sizes), axis=(0, 1, 2)) / count
    return mean, variance


def moments_in_one_pass(x: Map, sizes: Sizes, guess: Channels) -> Moments:
    """The same from sums that do not wait for one another: the map is read once, and devices exchange sums once.

    With the difference d of the mean and its guess the variance's error is 1 + d^2 / variance times that of rounding.
    """
    count = _cells(sizes)
    centred = masked(x.astype(jnp.float32) - guess, sizes)
    first, second = (jnp.sum(values, axis=(0, 1, 2)) / count for values in (centred, jnp.square(centred)))
    return guess + first, jnp.maximum(second - jnp.square(first), 0.0)


def gradients(x: Map, sizes: Sizes, used: Used, dy: Map) -> Gradients:
    """By x, gamma and beta, for the gradient dy by the result."""
    wide = masked(dy.astype(jnp.float32), sizes)
    centred = x.astype(jnp.float32) - used.mean
    d_beta = jnp.sum(wide, axis=(0, 1, 2))
    d_gamma = jnp.sum(wide * centred, axis=(0, 1, 2)) * used.per_deviation
    through_mean, through_deviation = used.share * d_beta, used.share * d_gamma * used.per_deviation
    dx = used.gamma * used.per_deviation * (wide - through_mean - centred * through_deviation)
    return masked(dx, sizes).astype(x.dtype), d_gamma, d_beta


normalised = differentiable(by_platform(moments, moments_in_one_pass), gradients)
