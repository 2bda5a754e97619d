"""EfficientNet-Lite (Tan and Le 2019, in its form of 2020 for small devices) on canvases.

Inverted residuals with ReLU6, without squeeze-and-excitation. Layers have the names of Keras' EfficientNet. Every layer
of stride 2 pads as "SAME" does, so that its windows have their middles on a side's positions n - 1, n - 3, ...: counted
from the bottom-right corner they are the same for every picture of a canvas.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from mtp.models.backbone import Levels
from mtp.models.layers import (
    BatchNorm,
    BatchStatistics,
    ConvNorm,
    DepthwiseConv,
    Projection,
    StemConv,
)
from mtp.models.recompute import applied
from mtp.ops.canvas import Sizes, halved_sizes, masked

Map = Float[Array, "B H W C"]
Output = Float[Array, "B h w F"]
SIX = 6.0  # of ReLU6
STEM, TOP = 32, 1280  # channels, of every size


class Stage(NamedTuple):
    """`repeats` inverted residuals, of which the first one has the stride; expansion: times a residual's channels."""

    window: int
    stride: int
    expansion: int
    features: int
    repeats: int


# Table 1 of Tan and Le 2019
BASE = (
    Stage(3, 1, 1, 16, 1), Stage(3, 2, 6, 24, 2), Stage(5, 2, 6, 40, 2), Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3), Stage(5, 2, 6, 192, 4), Stage(3, 1, 6, 320, 1),
)  # fmt: skip


def scaled(width: float, depth: float) -> tuple[Stage, ...]:
    """BASE with `width` times the channels and `depth` times the repeats; the first and last stage keep theirs.

    Channels are rounded to a multiple of 8, but never down by more than a tenth.
    """

    def channels(features: int) -> int:
        wanted = features * width
        rounded = max(8, int(wanted + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * wanted else rounded + 8

    def of(stage: Stage) -> Stage:
        repeats = stage.repeats if stage in (BASE[0], BASE[-1]) else math.ceil(stage.repeats * depth)
        return stage._replace(features=channels(stage.features), repeats=repeats)

    return tuple(map(of, BASE))


LITE = {"lite0": scaled(1.0, 1.0), "lite1": scaled(1.0, 1.1), "lite2": scaled(1.1, 1.2)}


def to_float(images: UInt8[Array, "B H W 3"], sizes: Sizes) -> Float[Array, "B H W 3"]:
    """Pixels as (x - 127) / 128, float32, zero outside the pictures."""
    return masked((images.astype(jnp.float32) - 127.0) / 128.0, sizes)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection, each with batch norm, a ReLU6 between them (Sandler et al.
    2018).

    Its input is added where it has the same size and channels. Without an expansion the input is a map before its
    ReLU6, as the stem's is.
    """

    stage: Stage
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes, statistics: BatchStatistics | None) -> Output:
        channels, window = x.shape[-1] * self.stage.expansion, self.stage.window
        expand = None
        if self.stage.expansion > 1:
            widen = Projection(x.shape[-1], channels, False, self.dtype, name="expand_conv")
            expand = ConvNorm(widen, BatchNorm(channels, name="expand_bn"))
        filters = DepthwiseConv(channels, window, self.stride, self.dtype, SIX, name="dwconv")
        project = Projection(channels, self.stage.features, True, self.dtype, SIX, name="project_conv")
        layers = (
            expand,
            ConvNorm(filters, BatchNorm(channels, name="bn")),
            ConvNorm(project, BatchNorm(self.stage.features, name="project_bn")),
        )
        return self.computed(layers, x, sizes, statistics)

    def computed(
        self,
        layers: tuple[ConvNorm | None, ConvNorm, ConvNorm],
        x: Map,
        sizes: Sizes,
        statistics: BatchStatistics | None,
    ) -> Output:
        """Its layers, the first of which may be none, one after the other."""
        expand, filters, project = layers
        y = x if expand is None else expand(x, sizes, statistics)
        y = filters(y, sizes, statistics)
        y = project(y, self.out_sizes(sizes), statistics)
        return y + x if self.adds(x) else y

    @nn.nowrap
    def adds(self, x: Map) -> bool:
        """Whether its input x is added to its result."""
        return self.stride == 1 and x.shape[-1] == self.stage.features

    @nn.nowrap
    def out_sizes(self, sizes: Sizes) -> Sizes:
        """The pictures' sizes after it."""
        return halved_sizes(sizes) if self.stride == 2 else sizes


class EfficientNetLite(nn.Module):
    """(B, H, W, 3) as `to_float` gives it and sizes (B, 2) -> the last map (B, h, w, 1280) after ReLU6, and its sizes.

    remat: compute each inverted residual again in the backward pass.
    """

    stages: tuple[Stage, ...]
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    def __call__(
        self, images: Float[Array, "B H W 3"], sizes: Sizes, statistics: BatchStatistics | None = None
    ) -> tuple[Output, Sizes]:
        return self.levels(images, sizes, statistics)[-1]

    @nn.compact
    def levels(
        self, images: Float[Array, "B H W 3"], sizes: Sizes, statistics: BatchStatistics | None = None
    ) -> Levels:
        """The map at the end of each stage, before any ReLU6, and the last map."""
        stem = StemConv(STEM, self.dtype, padded=True, name="stem_conv")
        x = ConvNorm(stem, BatchNorm(STEM, name="stem_bn"))(images, sizes, statistics)
        sizes, ends = stem.out_sizes(sizes), {}
        for name, stage, stride in layout(self.stages):
            block = InvertedResidual(stage, stride, self.dtype, name=name)
            x = applied(block, (x,), (sizes,), statistics, remat=self.remat)
            sizes = block.out_sizes(sizes)
            ends[name[:-1]] = x, sizes  # the letters count a stage's blocks
        top = Projection(x.shape[-1], TOP, False, self.dtype, name="top_conv")
        x = ConvNorm(top, BatchNorm(TOP, name="top_bn"))(x, sizes, statistics)
        return (*ends.values(), (masked(jnp.clip(x, 0, SIX), sizes), sizes))


def layout(stages: tuple[Stage, ...]) -> list[tuple[str, Stage, int]]:
    """(Keras' name, stage, stride) of every inverted residual."""
    return [
        (f"block{number}{chr(ord('a') + i)}", stage, 1 if i else stage.stride)
        for number, stage in enumerate(stages, 1)
        for i in range(stage.repeats)
    ]
