"""A cell whose maps are computed again in the backward pass: less memory, more time.

A barrier keeps XLA from finding the second computation equal to the first one, and from running it before the gradient
that needs it is there. XLA for CPU drops barriers early; there the computation also stands in a branch that is always
taken, which only the running program can tell. (jax.checkpoint has the barrier alone and saves nothing on CPU.)
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mtp.models.cells import Cell
from mtp.models.layers import BatchStatistics
from mtp.ops.canvas import Sizes
from mtp.ops.dispatch import by_platform

Map = Float[Array, "B H W C"]
Skip = Float[Array, "B H2 W2 C2"]
Output = Float[Array, "B h w F"]
Constants = tuple[Any, Sizes, Sizes, BatchStatistics | None]  # what no gradient goes to


def recomputed(
    cell: Cell, x: Map, p: Skip, sizes: Sizes, p_sizes: Sizes, statistics: BatchStatistics | None
) -> Output:
    """`cell(x, p, sizes, p_sizes, statistics)`, of which the backward pass keeps the arguments only."""
    variables = cell.variables
    constants = (variables["batch_stats"], sizes, p_sizes, statistics)
    y, batch_stats = _output(cell.clone(parent=None), variables["params"], x, p, constants)
    if statistics is not None:
        for layer, values in batch_stats.items():
            cell.put_variable("batch_stats", layer, values)
    return y


def _run(cell: Cell, params: Any, x: Map, p: Skip, constants: Constants) -> tuple[Output, Any]:
    """The cell's output, and its running statistics after it, which pass no gradient on."""
    batch_stats, sizes, p_sizes, statistics = constants
    variables = {"params": params, "batch_stats": batch_stats}
    y, changed = cell.apply(variables, x, p, sizes, p_sizes, statistics, mutable=["batch_stats"])
    return y, changed["batch_stats"]


def _forward(cell: Cell, *arguments: Any) -> tuple[tuple[Output, Any], tuple]:
    return _run(cell, *arguments), arguments


def _backward(cell: Cell, saved: tuple, slopes: tuple[Output, Any]) -> tuple[Any, Map, Skip, None]:
    (params, x, p, constants), dy = lax.optimization_barrier((saved, slopes[0]))

    def output(params: Any, x: Map, p: Skip) -> Output:
        return _run(cell, params, x, p, constants)[0]

    def gradients(*inputs: Any) -> tuple:
        return jax.vjp(output, *inputs)[1](dy)

    def nothing(*inputs: Any) -> tuple:
        return jax.tree.map(jnp.zeros_like, inputs)

    return *lax.cond(_true(dy), gradients, nothing, params, x, p), None


def _true_of_any(dy: Output) -> Array:
    """True, which no compiler sees."""
    first = dy.ravel()[0]
    return jnp.isnan(first) | (first < jnp.inf) | (first == jnp.inf)


_true: Any = by_platform(_true_of_any, lambda dy: jnp.array(True))
_output = jax.custom_vjp(_run, nondiff_argnums=(0,))
_output.defvjp(_forward, _backward)
