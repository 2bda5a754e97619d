"""Making a network's variables without computing its maps, on which no variable depends.

Most of the time of tracing an initialisation goes into the operations of some hundred layers: seconds, for which
whoever loads a checkpoint would wait.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.module import InterceptorContext
from jaxtyping import Array, Float

from mtp.models.layers import BatchStatistics, ConvNorm, DepthwiseConv, Projection, SeparableConv
from mtp.models.pools import AveragePool, FactorisedReduction, StridedAveragePool
from mtp.ops.canvas import Sizes

Map = Float[Array, "B H W _"]
Result = Float[Array, "B h w _"]


def without_maps(
    method: Callable, arguments: tuple, named: dict[str, Any], context: InterceptorContext
) -> Any:
    """For `nn.intercept_methods`: the layers below make their variables and give zeros of their results' shapes."""
    # a subclass is not its base: it may have variables that only its method makes
    stand_in = _STAND_INS.get((type(context.module), context.method_name))
    if stand_in is None:
        return method(*arguments, **named)
    return stand_in(context.module, method, *arguments, **named)


def _conv_norm(
    module: ConvNorm, plain: Callable, x: Map, sizes: Sizes, statistics: BatchStatistics | None
) -> Result:
    conv, norm = module.conv, module.norm
    # a module makes all its variables when it is asked for one
    match conv:
        case SeparableConv():
            _ = conv.depthwise_kernel, norm.gamma
            return _zeros(x, conv.stride, conv.features)
        case DepthwiseConv():
            _ = conv.depthwise_kernel, norm.gamma
            return _zeros(x, conv.stride, conv.channels)
        case Projection():
            _ = conv.kernel, norm.gamma
            return _zeros(x, 1, conv.features)
        case _:
            return plain(x, sizes, statistics)


def _average_pool(module: AveragePool, plain: Callable, x: Map, sizes: Sizes) -> Map:
    return x


def _strided_average_pool(module: StridedAveragePool, plain: Callable, x: Map, sizes: Sizes) -> Result:
    return _zeros(x, 2, x.shape[-1])


def _paths(module: FactorisedReduction, plain: Callable, x: Map, sizes: Sizes) -> tuple[Result, Result]:
    half = _zeros(x, 2, x.shape[-1])
    return half, half


def _zeros(x: Map, stride: int, features: int) -> Result:
    batch, height, width, _ = x.shape
    return jnp.zeros((batch, -(-height // stride), -(-width // stride), features), x.dtype)


_STAND_INS: dict[tuple[type[nn.Module], str], Callable] = {
    (ConvNorm, "__call__"): _conv_norm,
    (AveragePool, "__call__"): _average_pool,
    (StridedAveragePool, "__call__"): _strided_average_pool,
    (FactorisedReduction, "paths"): _paths,
}
