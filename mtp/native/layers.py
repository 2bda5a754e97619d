"""What stands in for the methods of the plain layers: (module, plain, *arguments) -> the method's result.

plain is the method itself, for arguments that no kernel takes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.models.layers import (
    BatchNorm,
    BatchStatistics,
    ConvNorm,
    DepthwiseConv,
    Projection,
    SeparableConv,
    StemConv,
    below,
)
from mtp.models.pools import AveragePool, FactorisedReduction, StridedAveragePool
from mtp.native import fused, operations
from mtp.native.fused import Layer
from mtp.ops import pooling
from mtp.ops.batch_norm import Running
from mtp.ops.canvas import Sizes, halved_sizes

Map = Float[Array, "B H W C"]
Result = Float[Array, "B h w F"]
WINDOWS = (3, 5, 7)
STRIDES = (1, 2)


def is_supported(conv: DepthwiseConv) -> bool:
    """Whether there is a kernel for its window and stride."""
    return conv.window in WINDOWS and conv.stride in STRIDES


def depthwise(module: DepthwiseConv, plain: Callable, x: Map, sizes: Sizes) -> Result:
    """`DepthwiseConv.depthwise`, which a separable convolution has, too."""
    if not is_supported(module):
        return plain(x, sizes)
    return operations.depthwise(x, sizes, module.depthwise_kernel[..., 0], module.stride)


def by_batch(
    module: BatchNorm, plain: Callable, x: Map, sizes: Sizes, running: Running
) -> tuple[Map, Array, Array]:
    """`BatchNorm.by_batch`."""
    return operations.normalised(x, sizes, module.gamma, module.beta, running, module.epsilon)


def average_pool(module: AveragePool, plain: Callable, x: Map, sizes: Sizes) -> Map:
    """`AveragePool`."""
    return pooling.averages_inside(operations.window_sums(x, sizes, 1), sizes)


def strided_average_pool(module: StridedAveragePool, plain: Callable, x: Map, sizes: Sizes) -> Result:
    """`StridedAveragePool`."""
    return operations.window_sums(x, sizes, 2) / 9


def paths(module: FactorisedReduction, plain: Callable, x: Map, sizes: Sizes) -> tuple[Result, Result]:
    """`FactorisedReduction.paths`."""
    return operations.factorised_paths(x, sizes)


def factorised_reduction(
    module: FactorisedReduction, plain: Callable, x: Map, sizes: Sizes, statistics: BatchStatistics | None
) -> Result:
    """`FactorisedReduction`; by the running statistics each projection takes its half of the batch norm."""
    if statistics is not None:
        return plain(x, sizes, statistics)
    scale, shift = module.norm.affine()
    halves, first = [], 0
    for projection, path in zip(module.projections, module.paths(x, sizes), strict=True):
        own = slice(first, first + projection.features)
        halves.append(_projection(projection, path, halved_sizes(sizes), (scale[own], shift[own]), False))
        first += projection.features
    return jnp.concatenate(halves, axis=-1)


def conv_norm(
    module: ConvNorm, plain: Callable, x: Map, sizes: Sizes, statistics: BatchStatistics | None
) -> Result:
    """`ConvNorm`; by the running statistics it is one operation."""
    if statistics is not None:
        return plain(x, sizes, statistics)
    match module.conv:
        case SeparableConv() as conv if is_supported(conv):
            with jax.named_scope(str(conv.name)):
                x = below(x, conv.ceiling).astype(conv.dtype)
                (y,) = fused.separable(x, sizes, (layer(module),), conv.stride)
            return y
        case Projection() as conv:
            return _projection(conv, x, sizes, module.norm.affine(), conv.rectified)
        case StemConv() as conv:
            with jax.named_scope(str(conv.name)):
                images, sizes = conv.seen(x.astype(conv.dtype), sizes)
                return fused.stem(images, sizes, conv.kernel, *module.norm.affine())
        case _:
            return plain(x, sizes, statistics)


def layer(module: ConvNorm, onto: Result | None = None) -> Layer:
    """A separable convolution and its batch norm by the running statistics, plus `onto`."""
    conv = module.conv
    assert isinstance(conv, SeparableConv)
    return Layer(conv.depthwise_kernel[..., 0], conv.pointwise_kernel[0, 0], *module.norm.affine(), onto)


def _projection(
    conv: Projection, x: Map, sizes: Sizes, affine: tuple[Array, Array], rectified: bool
) -> Result:
    with jax.named_scope(str(conv.name)):
        x = below(x, conv.ceiling).astype(conv.dtype)
        return fused.projection(x, sizes, conv.kernel[0, 0], *affine, rectified)
