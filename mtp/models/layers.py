"""Layers that know which cells of a canvas are valid. Parameter names are Keras'.

Outside its pictures a map may hold anything: each layer whose result inside depends on cells outside sets them to zero
first. A costly operation is a method of its own where the rest of its layer is not: `mtp.native` replaces methods.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from mtp.ops import batch_norm, depthwise
from mtp.ops.canvas import Sizes, halved_sizes, stem_sizes
from mtp.ops.pointwise import pointwise
from mtp.ops.stem import same_padded, stem

Map = Float[Array, "B H W C"]
Affine = tuple[Float[Array, " F"], Float[Array, " F"]]  # scale and shift of each channel of a result
Mixed = Float[Array, "B h w F"]  # other channels, and half the size where the stride is 2
Strided = Float[Array, "B h w C"]
Images = Float[Array, "B H W 3"]


class BatchStatistics(NamedTuple):
    """Tells batch norm to use the batch's own statistics; None in its place means the running ones.

    momentum: weight of the old running statistics in the update.
    frozen: true where the running statistics are used and kept all the same.
    """

    momentum: Float[Array, ""] | float
    frozen: Bool[Array, ""] | bool = False


class BatchNorm(nn.Module):
    """Batch normalisation over the valid cells, float32, epsilon 1e-3 (Keras' NASNet)."""

    channels: int
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

    def by_batch(self, x: Map, sizes: Sizes, running: batch_norm.Running) -> tuple[Map, Array, Array]:
        """x by the batch's statistics, or by the running ones where they are frozen; the batch's mean and variance."""
        return batch_norm.normalised(x, sizes, self.gamma, self.beta, running, self.epsilon)

    def __call__(self, x: Map, sizes: Sizes, statistics: BatchStatistics | None) -> Map:
        if statistics is None:
            return batch_norm.transformed(x, *self.affine())
        mean, variance = self.moving_mean.value, self.moving_variance.value
        running = batch_norm.Running(mean, variance, statistics.frozen)
        y, batch_mean, batch_variance = self.by_batch(x, sizes, running)
        if not self.is_initializing():
            keep = jnp.where(statistics.frozen, 1.0, statistics.momentum)
            self.moving_mean.value = keep * mean + (1 - keep) * batch_mean
            self.moving_variance.value = keep * variance + (1 - keep) * batch_variance
        return y


class Pointwise(nn.Module):
    """1x1 convolution: a matrix product over channels, parameters float32, product in `dtype`."""

    features: int
    dtype: DTypeLike = jnp.float32
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
    """3x3 convolution of the images, stride 2, without bias.

    padded: with zeros around each picture, as "SAME" has it; NASNet's is without padding.
    """

    features: int
    dtype: DTypeLike = jnp.float32
    padded: bool = False

    def setup(self) -> None:
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, 3, self.features))

    @nn.nowrap
    def out_sizes(self, sizes: Sizes) -> Sizes:
        """The pictures' sizes after it."""
        return halved_sizes(sizes) if self.padded else stem_sizes(sizes)

    @nn.nowrap
    def seen(self, images: Images, sizes: Sizes) -> tuple[Float[Array, "B H2 W2 3"], Sizes]:
        """Pictures and sizes of which the convolution without padding is this one."""
        return same_padded(images, sizes) if self.padded else (images, sizes)

    def __call__(self, images: Images, sizes: Sizes) -> Mixed:
        images, _ = self.seen(images, sizes)
        return stem(images.astype(self.dtype), self.kernel.astype(self.dtype))


class Projection(nn.Module):
    """1x1 convolution without bias, behind a ReLU where it is `rectified`, as all of NASNet's are.

    ceiling: of the ReLU's result, 6 for ReLU6; None: none.
    """

    channels: int
    features: int
    rectified: bool = True
    dtype: DTypeLike = jnp.float32
    ceiling: float | None = None

    def setup(self) -> None:
        shape = (1, 1, self.channels, self.features)
        self.kernel = self.param("kernel", nn.initializers.he_normal(), shape)

    @nn.nowrap
    def out_sizes(self, sizes: Sizes) -> Sizes:
        """The pictures' sizes after it."""
        return sizes

    def __call__(self, x: Map, sizes: Sizes) -> Mixed:
        x = below(x, self.ceiling)
        x = jax.nn.relu(x) if self.rectified else x
        return pointwise(x.astype(self.dtype), self.kernel[0, 0].astype(self.dtype))


def below(x: Map, ceiling: float | None) -> Map:
    """min(x, ceiling)."""
    return x if ceiling is None else jnp.minimum(x, ceiling)


class DepthwiseConv(nn.Module):
    """ReLU inside the pictures, then one k x k filter a channel, no bias; padding is Keras' for either stride.

    ceiling: of the ReLU's result, as `Projection`.
    """

    channels: int
    window: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32
    ceiling: float | None = None

    def setup(self) -> None:
        taps = (self.window, self.window, self.channels, 1)
        self.depthwise_kernel = self.param("depthwise_kernel", _normal_over_taps, taps)

    @nn.nowrap
    def out_sizes(self, sizes: Sizes) -> Sizes:
        """The pictures' sizes after it."""
        return halved_sizes(sizes) if self.stride == 2 else sizes

    def depthwise(self, x: Map, sizes: Sizes) -> Strided:
        """ReLU inside the pictures and the filters."""
        return depthwise.depthwise(x, sizes, self.depthwise_kernel[..., 0], self.stride)

    def __call__(self, x: Map, sizes: Sizes) -> Mixed:
        return self.depthwise(below(x, self.ceiling).astype(self.dtype), sizes)


class SeparableConv(DepthwiseConv, kw_only=True):
    """The same, then 1x1 pointwise to `features` channels, no bias."""

    features: int

    def setup(self) -> None:
        super().setup()
        mixing = (1, 1, self.channels, self.features)
        self.pointwise_kernel = self.param("pointwise_kernel", nn.initializers.he_normal(), mixing)

    def __call__(self, x: Map, sizes: Sizes) -> Mixed:
        y = self.depthwise(below(x, self.ceiling).astype(self.dtype), sizes)
        return pointwise(y, self.pointwise_kernel[0, 0].astype(self.dtype))


class ConvNorm(nn.Module):
    """A convolution and the batch norm behind it. Both belong to the module that makes them, which names them."""

    conv: StemConv | Projection | DepthwiseConv
    norm: BatchNorm

    def __call__(self, x: Map, sizes: Sizes, statistics: BatchStatistics | None) -> Mixed:
        return self.norm(self.conv(x, sizes), self.conv.out_sizes(sizes), statistics)
