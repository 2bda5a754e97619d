"""A cell whose maps are computed again in the backward pass: less memory, more time.

A barrier keeps XLA from finding the second computation equal to the first one, and from running it before the gradient
that needs it is there. XLA for CPU drops barriers early; there the computation also stands in a branch that is always
taken, which only the running program can tell. (jax.checkpoint has the barrier alone and saves nothing on CPU.)

The cell is traced once, in the forward pass, and the backward pass runs the same operations: what Flax' interceptors
make of the cell is in both, wherever the gradient is taken.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array, Float

from mtp.models.cells import Cell
from mtp.models.layers import BatchStatistics
from mtp.ops.canvas import Sizes
from mtp.ops.dispatch import by_platform

Map = Float[Array, "B H W C"]
Skip = Float[Array, "B H2 W2 C2"]
Output = Float[Array, "B h w F"]
Variables = dict[str, dict[str, Array]]
Constants = tuple[Variables, Sizes, Sizes, BatchStatistics | None]  # what no gradient goes to
# (parameters, x, p, constants) -> the cell's output, and its running statistics after it, which pass no gradient on
Run = Callable[[Variables, Map, Skip, Constants], tuple[Output, Variables]]


def recomputed(
    cell: Cell, x: Map, p: Skip, sizes: Sizes, p_sizes: Sizes, statistics: BatchStatistics | None
) -> Output:
    """`cell(x, p, sizes, p_sizes, statistics)`, of which the backward pass keeps the arguments only."""
    variables = cell.variables
    arguments = (variables["params"], x, p, (variables["batch_stats"], sizes, p_sizes, statistics))
    y, batch_stats = _output(_traced(cell.clone(parent=None), *arguments), *arguments)
    if statistics is not None:
        for layer, values in batch_stats.items():
            cell.put_variable("batch_stats", layer, values)
    return y


def _run(cell: Cell, params: Any, x: Map, p: Skip, constants: Constants) -> tuple[Output, Any]:
    batch_stats, sizes, p_sizes, statistics = constants
    variables = {"params": params, "batch_stats": batch_stats}
    y, changed = cell.apply(variables, x, p, sizes, p_sizes, statistics, mutable=["batch_stats"])
    return y, changed["batch_stats"]


def _traced(cell: Cell, *arguments: Any) -> Run:
    """`_run` of the cell as the operations that it makes of such arguments."""
    traced, shapes = jax.make_jaxpr(functools.partial(_run, cell), return_shape=True)(*arguments)
    run, structure = jaxpr_as_fun(traced), jax.tree.structure(shapes)
    return lambda *given: jax.tree.unflatten(structure, run(*jax.tree.leaves(given)))


def _forward(run: Run, *arguments: Any) -> tuple[tuple[Output, Any], tuple]:
    return run(*arguments), arguments


def _backward(run: Run, saved: tuple, by_results: tuple[Output, Any]) -> tuple[Any, Map, Skip, None]:
    (params, x, p, constants), dy = lax.optimization_barrier((saved, by_results[0]))

    def output(params: Any, x: Map, p: Skip) -> Output:
        return run(params, x, p, constants)[0]

    def gradients(*inputs: Any) -> tuple:
        return jax.vjp(output, *inputs)[1](dy)

    def nothing(*inputs: Any) -> tuple:
        return jax.tree.map(jnp.zeros_like, inputs)

    return *lax.cond(_true(dy), gradients, nothing, params, x, p), None


def _true_of_any(dy: Output) -> Array:
    """True, which no compiler sees."""
    first = dy.ravel()[0]
    return jnp.isnan(first) | (first < jnp.inf) | (first == jnp.inf)


def _true_elsewhere(dy: Output) -> Array:
    return jnp.array(True)


_true = by_platform(_true_of_any, _true_elsewhere)
_output = jax.custom_vjp(lambda run, *arguments: run(*arguments), nondiff_argnums=(0,))
_output.defvjp(_forward, _backward)
