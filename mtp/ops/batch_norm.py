"""Batch normalisation by the statistics of the pictures' cells, with its own gradient.

Derived by hand the gradient takes two sums over the map; derived automatically it takes three, one after the other.
"""

from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.ops.canvas import Sizes, masked

Map = Float[Array, "B H W C"]
Channels = Float[Array, " C"]


def cells(sizes: Sizes) -> Float[Array, ""]:
    """How many cells the pictures of a batch have together; at least 1."""
    return jnp.maximum(jnp.sum((sizes[:, 0] * sizes[:, 1]).astype(jnp.float32)), 1.0)


def moments(x: Map, sizes: Sizes) -> tuple[Channels, Channels]:
    """Mean and variance of each channel over the valid cells of the whole batch, float32."""
    count = cells(sizes)
    wide = x.astype(jnp.float32)
    mean = jnp.sum(masked(wide, sizes), axis=(0, 1, 2)) / count
    variance = jnp.sum(masked(jnp.square(wide - mean), sizes), axis=(0, 1, 2)) / count
    return mean, variance


def scaled(x: Map, gamma: Channels, beta: Channels, mean: Channels, variance: Channels, epsilon: float) -> Map:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe & Szegedy 2015), in float32, as x's type."""
    scale = gamma / jnp.sqrt(variance + epsilon)
    return (x.astype(jnp.float32) * scale + (beta - mean * scale)).astype(x.dtype)


class Running(NamedTuple):
    """Running mean and variance, and whether they are used in place of the batch's own."""

    mean: Channels
    variance: Channels
    frozen: Array | bool


Result: TypeAlias = tuple[Map, Channels, Channels]


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def normalised(
    x: Map, sizes: Sizes, gamma: Channels, beta: Channels, running: Running, epsilon: float
) -> Result:
    """`scaled` by the batch's moments or the frozen ones, and the batch's moments, which pass no gradient on."""
    return _forward(x, sizes, gamma, beta, running, epsilon)[0]


Saved: TypeAlias = tuple[Map, Sizes, Channels, Channels, Channels, Array | bool]


def _forward(
    x: Map, sizes: Sizes, gamma: Channels, beta: Channels, running: Running, epsilon: float
) -> tuple[Result, Saved]:
    own = moments(x, sizes)
    mean, variance = (jnp.where(running.frozen, kept, new) for kept, new in zip(running[:2], own, strict=True))
    y = scaled(x, gamma, beta, mean, variance, epsilon)
    return (y, *own), (x, sizes, gamma, mean, 1 / jnp.sqrt(variance + epsilon), running.frozen)


def _backward(
    epsilon: float, saved: Saved, slopes: tuple[Map, Any, Any]
) -> tuple[Map, None, Channels, Channels, None]:
    x, sizes, gamma, mean, per_deviation, frozen = saved
    dy = masked(slopes[0].astype(jnp.float32), sizes)
    centred = x.astype(jnp.float32) - mean
    d_beta = jnp.sum(dy, axis=(0, 1, 2))
    d_gamma = jnp.sum(dy * centred, axis=(0, 1, 2)) * per_deviation
    share = jnp.where(frozen, 0.0, 1 / cells(sizes))  # of each cell in the batch's moments
    dx = gamma * per_deviation * (dy - share * d_beta - centred * (share * d_gamma * per_deviation))
    return masked(dx, sizes).astype(x.dtype), None, d_gamma, d_beta, None


normalised.defvjp(_forward, _backward)
