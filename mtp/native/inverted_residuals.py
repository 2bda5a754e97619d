"""EfficientNet-Lite's inverted residuals by the running statistics, each in one kernel.

The expanded map is several times as large as what goes in and comes out: it is made and used up a few rows at a time,
in the cache.
"""

from collections.abc import Callable

from jaxtyping import Array, Float

from mtp.models.efficientnet_lite import SIX, InvertedResidual
from mtp.models.layers import BatchStatistics, ConvNorm, DepthwiseConv, Projection
from mtp.native import fused
from mtp.native.fused import Expansion, Residual
from mtp.native.layers import is_supported
from mtp.ops.canvas import Sizes

Map = Float[Array, "B H W C"]
Output = Float[Array, "B h w F"]
LANES = 16  # of the widest vectors: an expanded map's pixels are whole ones


def computed(
    module: InvertedResidual,
    plain: Callable,
    layers: tuple[ConvNorm | None, ConvNorm, ConvNorm],
    x: Map,
    sizes: Sizes,
    statistics: BatchStatistics | None,
) -> Output:
    """`InvertedResidual.computed`; in training it is made of its layers' kernels."""
    expand, filters, project = layers
    conv, mixing = filters.conv, project.conv
    assert isinstance(conv, DepthwiseConv) and isinstance(mixing, Projection)
    if statistics is not None or not is_supported(conv) or (expand and conv.channels % LANES):
        return plain(layers, x, sizes, statistics)
    scale, between = filters.norm.affine()
    residual = Residual(
        _expansion(expand) if expand else None,
        conv.depthwise_kernel[..., 0] * scale,
        between,
        mixing.kernel[0, 0],
        *project.norm.affine(),
        x if module.adds(x) else None,
    )
    return fused.inverted_residual(x.astype(conv.dtype), sizes, residual, conv.stride, SIX)


def _expansion(layer: ConvNorm) -> Expansion:
    assert isinstance(layer.conv, Projection)
    return Expansion(layer.conv.kernel[0, 0], *layer.norm.affine())
