"""A module whose maps are computed again in the backward pass: less memory, more time.

A barrier keeps XLA from finding the second computation equal to the first one, and from running it before the gradient
that needs it is there. XLA for CPU drops barriers early; there the computation also stands in a branch that is always
taken, which only the running program can tell. (jax.checkpoint has the barrier alone and saves nothing on CPU.)

The module is traced once, in the forward pass, and the backward pass runs the same operations: what Flax' interceptors
make of it is in both, wherever the gradient is taken.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array, Float

from mtp.models.layers import BatchStatistics
from mtp.ops.canvas import Sizes
from mtp.ops.dispatch import by_platform

Maps = tuple[Float[Array, "B _ _ _"], ...]
AllSizes = tuple[Sizes, ...]
Output = Float[Array, "B h w F"]
Variables = dict[str, dict[str, Array]]
Constants = tuple[Variables, AllSizes, BatchStatistics | None]  # what no gradient goes to
# (parameters, maps, constants) -> the module's output, and its running statistics after it, which pass no gradient on
Run = Callable[[Variables, Maps, Constants], tuple[Output, Variables]]


def applied(
    module: nn.Module, maps: Maps, sizes: AllSizes, statistics: BatchStatistics | None, *, remat: bool
) -> Output:
    """The module's map of some maps and sizes.

    remat: the backward pass keeps these alone, and computes all else again.
    """
    if not remat or module.is_initializing():
        return module(*maps, *sizes, statistics)
    variables = module.variables
    arguments = (variables["params"], maps, (variables["batch_stats"], sizes, statistics))
    y, batch_stats = _output(_traced(module.clone(parent=None), *arguments), *arguments)
    if statistics is not None:
        for layer, values in batch_stats.items():
            module.put_variable("batch_stats", layer, values)
    return y


def _run(module: nn.Module, params: Any, maps: Maps, constants: Constants) -> tuple[Output, Any]:
    batch_stats, sizes, statistics = constants
    variables = {"params": params, "batch_stats": batch_stats}
    y, changed = module.apply(variables, *maps, *sizes, statistics, mutable=["batch_stats"])
    return y, changed["batch_stats"]


def _traced(module: nn.Module, *arguments: Any) -> Run:
    """`_run` of the module as the operations that it makes of such arguments."""
    traced, shapes = jax.make_jaxpr(functools.partial(_run, module), return_shape=True)(*arguments)
    run, structure = jaxpr_as_fun(traced), jax.tree.structure(shapes)
    return lambda *given: jax.tree.unflatten(structure, run(*jax.tree.leaves(given)))


def _forward(run: Run, *arguments: Any) -> tuple[tuple[Output, Any], tuple]:
    return run(*arguments), arguments


def _backward(run: Run, saved: tuple, by_results: tuple[Output, Any]) -> tuple[Any, Maps, None]:
    (params, maps, constants), dy = lax.optimization_barrier((saved, by_results[0]))

    def output(params: Any, maps: Maps) -> Output:
        return run(params, maps, constants)[0]

    def gradients(*inputs: Any) -> tuple:
        return jax.vjp(output, *inputs)[1](dy)

    def nothing(*inputs: Any) -> tuple:
        return jax.tree.map(jnp.zeros_like, inputs)

    return *lax.cond(_true(dy), gradients, nothing, params, maps), None


def _true_of_any(dy: Output) -> Array:
    """True, which no compiler sees."""
    first = dy.ravel()[0]
    return jnp.isnan(first) | (first < jnp.inf) | (first == jnp.inf)


def _true_elsewhere(dy: Output) -> Array:
    return jnp.array(True)


_true = by_platform(_true_of_any, _true_elsewhere)
_output = jax.custom_vjp(lambda run, *arguments: run(*arguments), nondiff_argnums=(0,))
_output.defvjp(_forward, _backward)
