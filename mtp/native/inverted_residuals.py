"""EfficientNet-Lite's inverted residuals by the running statistics: all behind the expansion in one kernel.

The expanded map, several times as large as the block's input, is written once and read once: ReLU6, depthwise
convolution, batch norm, ReLU6, projection, batch norm and the sum with the block's input take place in the cache.
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from mtp.models.efficientnet_lite import SIX, InvertedResidual
from mtp.models.layers import BatchStatistics, ConvNorm, DepthwiseConv, Projection
from mtp.native import fused
from mtp.native.fused import Layer
from mtp.native.layers import is_supported
from mtp.ops.canvas import Sizes

Map = Float[Array, "B H W C"]
Output = Float[Array, "B h w F"]


def projected(
    module: InvertedResidual,
    plain: Callable,
    layers: tuple[ConvNorm, ConvNorm],
    x: Map,
    sizes: Sizes,
    statistics: BatchStatistics | None,
    onto: Output | None,
) -> Output:
    """`InvertedResidual.projected`; in training it is made of its layers' kernels."""
    filters, project = layers
    conv, mixing = filters.conv, project.conv
    assert isinstance(conv, DepthwiseConv) and isinstance(mixing, Projection)
    if statistics is not None or not is_supported(conv):
        return plain(layers, x, sizes, statistics, onto)
    scale, between = filters.norm.affine()
    kernel = conv.depthwise_kernel[..., 0] * scale
    layer = Layer(kernel, mixing.kernel[0, 0], *project.norm.affine(), onto, between)
    with jax.named_scope(str(conv.name)):
        (y,) = fused.separable(x.astype(conv.dtype), sizes, (layer,), conv.stride, SIX)
    return y
