"""Operations on canvases that have a gradient and an implementation of their own on some platform."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
from jax import lax

F = TypeVar("F", bound=Callable)


def by_platform(cpu: F, elsewhere: F, static: int = 0) -> F:
    """One of two implementations, chosen when a program is lowered; their last `static` arguments are no arrays."""

    def chosen(*arguments: Any) -> Any:
        split = len(arguments) - static
        arrays, options = arguments[:split], arguments[split:]
        on_cpu, default = ((lambda *given, f=f: f(*given, *options)) for f in (cpu, elsewhere))
        return lax.platform_dependent(*arrays, cpu=on_cpu, default=default)

    return cast(F, chosen)


def differentiable(value: F, gradients: Callable, parameters: int = 0, static: int = 0) -> F:
    """The operation (x, sizes, *parameters, *static) from its value and its gradients.

    value takes the same arguments; gradients(x, sizes, *parameters, dy, *static) gives a tuple of those by x and the
    parameters, for the gradient dy by the value. Both are jitted so that the many layers of one shape are traced and
    lowered once.
    """
    arrays = 2 + parameters
    options = tuple(range(arrays, arrays + static))
    apply = jax.jit(value, static_argnums=options)
    differentiate = jax.jit(gradients, static_argnums=tuple(i + 1 for i in options))

    def forward(*arguments: Any) -> tuple[Any, tuple]:
        return apply(*arguments), arguments[:arrays]

    def backward(*arguments: Any) -> tuple:
        *given, saved, dy = arguments
        dx, *others = differentiate(*saved, dy, *given)
        return dx, None, *others

    operation = jax.custom_vjp(apply, nondiff_argnums=options)
    operation.defvjp(forward, backward)
    # a type checker does not take jax's custom_vjp for a callable
    return cast(F, operation)
