"""The seam: a function of plain models, run so that the layers which it calls are computed by the kernels.

Flax lets a function see every call of a module's method, and answer it in the method's place. Models know nothing of
it; one that is made of the layers below gets their kernels.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import flax.linen as nn
import jax
from flax.linen.module import InterceptorContext

from mtp.models.cells import Cell
from mtp.models.efficientnet_lite import InvertedResidual
from mtp.models.layers import BatchNorm, ConvNorm, DepthwiseConv, SeparableConv
from mtp.models.pools import AveragePool, FactorisedReduction, StridedAveragePool
from mtp.native import cells, inverted_residuals, layers, library

F = TypeVar("F", bound=Callable)

# a subclass is not its base: it may have changed what the method must give
REPLACEMENTS: dict[tuple[type[nn.Module], str], Callable] = {
    (DepthwiseConv, "depthwise"): layers.depthwise,
    (SeparableConv, "depthwise"): layers.depthwise,
    (BatchNorm, "by_batch"): layers.by_batch,
    (AveragePool, "__call__"): layers.average_pool,
    (StridedAveragePool, "__call__"): layers.strided_average_pool,
    (FactorisedReduction, "paths"): layers.paths,
    (FactorisedReduction, "__call__"): layers.factorised_reduction,
    (ConvNorm, "__call__"): layers.conv_norm,
    (Cell, "combined"): cells.combined,
    (InvertedResidual, "computed"): inverted_residuals.computed,
}

# part of the key of jax' caches, so that no jitted function traced with the kernels is found without them
_in_use = jax.make_user_context(False)


def accelerated(function: F) -> F:
    """The function, traced so that its modules run on the kernels; their gradients may be taken inside or outside.

    Elsewhere than on CPUs, and while parameters are initialised, all stays as it is.
    Errors: ConfigError where the kernels cannot be built.
    """
    if jax.default_backend() != "cpu":
        return function
    library.load()

    @functools.wraps(function)
    def with_kernels(*arguments: Any, **named: Any) -> Any:
        with _in_use(True), nn.intercept_methods(_intercept):
            return function(*arguments, **named)

    return cast(F, with_kernels)


def _intercept(method: Callable, arguments: tuple, named: dict[str, Any], context: InterceptorContext) -> Any:
    replacement = REPLACEMENTS.get((type(context.module), context.method_name))
    if replacement is None or context.module.is_initializing():
        return method(*arguments, **named)
    return replacement(context.module, method, *arguments, **named)
