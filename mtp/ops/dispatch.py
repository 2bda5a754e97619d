"""Operations on canvases that have a gradient and an implementation of their own on some platform."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax


def by_platform(cpu: Callable, elsewhere: Callable, static: int = 0) -> Callable:
    """One of two implementations, chosen when a program is lowered; their last `static` arguments are no arrays."""

    def chosen(*arguments: Any) -> Any:
        split = len(arguments) - static
        arrays, options = arguments[:split], arguments[split:]
        on_cpu, default = ((lambda *given, f=f: f(*given, *options)) for f in (cpu, elsewhere))
        return lax.platform_dependent(*arrays, cpu=on_cpu, default=default)

    return chosen


def differentiable(value: Callable, gradients: Callable, parameters: int = 0, static: int = 0) -> Any:
    """The operation (x, sizes, *parameters, *static) from its value and its gradients.

    value takes the same arguments; gradients(x, sizes, *parameters, dy, *static) gives a tuple of those by x and the
    parameters, for the gradient dy by the value. Both are jitted so that the many layers of one shape are traced and
    lowered once.
    """
    arrays = 2 + parameters
    options = tuple(range(arrays, arrays + static))
    apply = jax.jit(value, static_argnums=options)
    slopes = jax.jit(gradients, static_argnums=tuple(i + 1 for i in options))

    def forward(*arguments: Any) -> tuple[Any, tuple]:
        return apply(*arguments), arguments[:arrays]

    def backward(*arguments: Any) -> tuple:
        *given, saved, dy = arguments
        dx, *others = slopes(*saved, dy, *given)
        return dx, None, *others

    operation = jax.custom_vjp(apply, nondiff_argnums=options)
    operation.defvjp(forward, backward)
    return operation
