"""Layers that know which cells of a canvas are valid. Parameter names are Keras'."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.ops import batch_norm, inference
from mtp.ops.canvas import Sizes
from mtp.ops.kernels import PLAIN, Kernels
from mtp.ops.pointwise import pointwise
from mtp.ops.stem import stem

Map = Float[Array, "B H W C"]
Affine = tuple[Float[Array, " F"], Float[Array, " F"]]  # scale and shift of each channel of a result
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

    channels: int
    kernels: Kernels = PLAIN
    epsilon: float = 1e-3

    def setup(self) -> None:
        shape = (self.channels,)
        self.gamma = self.param("gamma", nn.initializers.ones, shape)
        self.beta = self.param("beta", nn.initializers.zeros, shape)
        self.moving_mean = self.variable("batch_stats", "moving_mean", jnp.zeros, shape)
        self.moving_variance = self.variable("batch_stats", "moving_variance", jnp.ones, shape)

    def affine(self) -> Affine:
        """What it is with the running statistics: a scale and a shift of each channel."""
        running = self.moving_mean.value, self.moving_variance.value
        return batch_norm.affine(self.gamma, self.beta, *running, self.epsilon)

    def __call__(self, x: Map, sizes: Sizes, statistics: BatchStatistics | None) -> Map:
        if statistics is None:
            return batch_norm.transformed(x, *self.affine())
        mean, variance = self.moving_mean.value, self.moving_variance.value
        running = batch_norm.Running(mean, variance, statistics.frozen)
        y, batch_mean, batch_variance = self.kernels.normalised(
            x, sizes, self.gamma, self.beta, running, self.epsilon
        )
        if not self.is_initializing():
            keep = jnp.where(statistics.frozen, 1.0, statistics.momentum)
            self.moving_mean.value = keep * mean + (1 - keep) * batch_mean
            self.moving_variance.value = keep * variance + (1 - keep) * batch_variance
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
    """3x3 convolution of the images, stride 2, without padding or bias.

    Where an affine is given, the batch norm behind it is done, too, and the ReLU that all who read its map begin with.
    """

    features: int
    dtype: Any = jnp.float32
    kernels: Kernels = PLAIN

    @nn.compact
    def __call__(self, images: Float[Array, "B H W 3"], sizes: Sizes, affine: Affine | None = None) -> Mixed:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, 3, self.features))
        images = images.astype(self.dtype)
        if affine:
            return self.kernels.stem(images, sizes, kernel, *affine)
        return stem(images, kernel.astype(self.dtype))


class Projection(nn.Module):
    """ReLU, then a 1x1 convolution without bias.

    Where an affine is given, x has had its ReLU, and the batch norm behind the convolution is done, too.
    """

    features: int
    dtype: Any = jnp.float32
    kernels: Kernels = PLAIN

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes, affine: Affine | None = None) -> Mixed:
        kernel = self.param("kernel", nn.initializers.he_normal(), (1, 1, x.shape[-1], self.features))
        if affine:
            return self.kernels.projection(x.astype(self.dtype), sizes, kernel[0, 0], *affine)
        return pointwise(jax.nn.relu(x).astype(self.dtype), kernel[0, 0].astype(self.dtype))


class SeparableConv(nn.Module):
    """ReLU inside the pictures, k x k depthwise, then 1x1 pointwise, no bias."""

    channels: int
    features: int
    window: int
    stride: int = 1
    dtype: Any = jnp.float32
    kernels: Kernels = PLAIN

    def setup(self) -> None:
        taps, mixing = (self.window, self.window, self.channels, 1), (1, 1, self.channels, self.features)
        self.depthwise_kernel = self.param("depthwise_kernel", _normal_over_taps, taps)
        self.pointwise_kernel = self.param("pointwise_kernel", nn.initializers.he_normal(), mixing)

    def at_inference(self, affine: Affine, onto: Mixed | None = None) -> inference.Layer:
        """With the batch norm behind it, of this affine, and what is added to that."""
        return inference.Layer(self.depthwise_kernel[..., 0], self.pointwise_kernel[0, 0], *affine, onto)

    def __call__(self, x: Map, sizes: Sizes) -> Mixed:
        y = self.kernels.depthwise(x.astype(self.dtype), sizes, self.depthwise_kernel[..., 0], self.stride)
        return pointwise(y, self.pointwise_kernel[0, 0].astype(self.dtype))


def normalised(
    layer: StemConv | Projection,
    norm: BatchNorm,
    x: Map,
    sizes: Sizes,
    out_sizes: Sizes,
    statistics: BatchStatistics | None,
) -> Mixed:
    """The layer and the batch norm behind it; with running statistics they are one operation."""
    if statistics is None:
        return layer(x, sizes, norm.affine())
    return norm(layer(x, sizes), out_sizes, statistics)
