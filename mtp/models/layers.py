"""Layers that know which cells of a canvas are valid. Parameter names are Keras'."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.ops import batch_norm
from mtp.ops.canvas import Sizes
from mtp.ops.kernels import PLAIN, Kernels
from mtp.ops.pointwise import pointwise
from mtp.ops.stem import stem

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

    kernels: Kernels = PLAIN
    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes, statistics: BatchStatistics | None) -> Map:
        channels = (x.shape[-1],)
        gamma = self.param("gamma", nn.initializers.ones, channels)
        beta = self.param("beta", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "moving_mean", jnp.zeros, channels)
        running_variance = self.variable("batch_stats", "moving_variance", jnp.ones, channels)
        mean, variance = running_mean.value, running_variance.value
        if statistics is None:
            return batch_norm.scaled(x, gamma, beta, mean, variance, self.epsilon)
        running = batch_norm.Running(mean, variance, statistics.frozen)
        y, batch_mean, batch_variance = self.kernels.normalised(x, sizes, gamma, beta, running, self.epsilon)
        if not self.is_initializing():
            keep = jnp.where(statistics.frozen, 1.0, statistics.momentum)
            running_mean.value = keep * mean + (1 - keep) * batch_mean
            running_variance.value = keep * variance + (1 - keep) * batch_variance
        return y


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
        y = pointwise(x.astype(self.dtype), kernel[0, 0].astype(self.dtype))
        if self.bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y


def _normal_over_taps(key: Array, shape: tuple[int, ...]) -> Array:
    """He initialisation whose fan-in is the k * k taps of one depthwise filter."""
    return jax.random.normal(key, shape) * (2.0 / (shape[0] * shape[1])) ** 0.5


class StemConv(nn.Module):
    """3x3 convolution of the images, stride 2, without padding or bias."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "B H W 3"]) -> Mixed:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, 3, self.features))
        return stem(images.astype(self.dtype), kernel.astype(self.dtype))


class SeparableConv(nn.Module):
    """ReLU inside the pictures, k x k depthwise, then 1x1 pointwise, no bias."""

    features: int
    window: int
    stride: int = 1
    dtype: Any = jnp.float32
    kernels: Kernels = PLAIN

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Mixed:
        window, channels = self.window, x.shape[-1]
        first = self.param("depthwise_kernel", _normal_over_taps, (window, window, channels, 1))
        second = self.param("pointwise_kernel", nn.initializers.he_normal(), (1, 1, channels, self.features))
        y = self.kernels.depthwise(x.astype(self.dtype), sizes, first[..., 0], self.stride)
        return pointwise(y, second[0, 0].astype(self.dtype))
