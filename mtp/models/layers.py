"""Layers that know which cells of a canvas are valid. Parameter names are Keras'."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.ops.canvas import Sizes, masked, valid_mask
from mtp.ops.depthwise import Depthwise, depthwise

Map = Float[Array, "B H W C"]
Mixed = Float[Array, "B h w F"]  # other channels, and half the size where the stride is 2


class BatchStatistics(NamedTuple):
    """Tells batch norm to use the batch's own statistics; None in its place means the running ones.

    momentum: weight of the old running statistics in the update.
    frozen: true where the running statistics are used and kept all the same.
    """

    momentum: Array | float
    frozen: Array | bool = False


class BatchNorm(nn.Module):
    """Batch normalisation over the valid cells, float32, epsilon 1e-3 (Keras' NASNet)."""

    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes, statistics: BatchStatistics | None) -> Map:
        channels = (x.shape[-1],)
        gamma = self.param("gamma", nn.initializers.ones, channels)
        beta = self.param("beta", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "moving_mean", jnp.zeros, channels)
        running_variance = self.variable("batch_stats", "moving_variance", jnp.ones, channels)
        wide = x.astype(jnp.float32)
        mean, variance = running_mean.value, running_variance.value
        if statistics is not None:
            batch_mean, batch_variance = _moments(wide, sizes)
            if not self.is_initializing():
                keep = jnp.where(statistics.frozen, 1.0, statistics.momentum)
                running_mean.value = keep * mean + (1 - keep) * batch_mean
                running_variance.value = keep * variance + (1 - keep) * batch_variance
            mean = jnp.where(statistics.frozen, mean, batch_mean)
            variance = jnp.where(statistics.frozen, variance, batch_variance)
        scale = gamma / jnp.sqrt(variance + self.epsilon)
        return (wide * scale + (beta - mean * scale)).astype(x.dtype)


def _moments(x: Map, sizes: Sizes) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Mean and variance of each channel over the valid cells of the whole batch."""
    inside = valid_mask(sizes, x.shape[1], x.shape[2])
    count = jnp.maximum(jnp.sum((sizes[:, 0] * sizes[:, 1]).astype(jnp.float32)), 1.0)
    mean = jnp.sum(jnp.where(inside, x, 0), axis=(0, 1, 2)) / count
    variance = jnp.sum(jnp.where(inside, jnp.square(x - mean), 0), axis=(0, 1, 2)) / count
    return mean, variance


class Pointwise(nn.Module):
    """1x1 convolution: a matrix product over channels, parameters float32, product in `dtype`."""

    features: int
    dtype: Any = jnp.float32
    bias: bool = False
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: Map) -> Mixed:
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = x.astype(self.dtype) @ kernel[0, 0].astype(self.dtype)
        if self.bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y


def _normal_over_taps(key: Array, shape: tuple[int, ...]) -> Array:
    """He initialisation whose fan-in is the k * k taps of one depthwise filter."""
    return jax.random.normal(key, shape) * (2.0 / (shape[0] * shape[1])) ** 0.5


class SeparableConv(nn.Module):
    """k x k depthwise, then 1x1 pointwise, no bias; zeroes what lies outside the pictures first."""

    features: int
    window: int
    stride: int = 1
    dtype: Any = jnp.float32
    depthwise: Depthwise = depthwise

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Mixed:
        window, channels = self.window, x.shape[-1]
        first = self.param("depthwise_kernel", _normal_over_taps, (window, window, channels, 1))
        second = self.param("pointwise_kernel", nn.initializers.he_normal(), (1, 1, channels, self.features))
        y = self.depthwise(masked(x, sizes).astype(self.dtype), first[..., 0], self.stride)
        return y @ second[0, 0].astype(self.dtype)
