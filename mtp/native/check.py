"""The self-check: each kernel beside its plain operation, on this processor.  python -m mtp.native.check LIBRARY

Prints a JSON object, for each kernel the largest deviation from the plain operation's values and gradients inside the
pictures, as a share of the largest of these. A process of its own: a kernel that the processor cannot run ends it.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mtp.native import fused, library, operations
from mtp.native.fused import Expansion, Layer, Map, Residual, Sum
from mtp.ops import batch_norm, depthwise, pooling
from mtp.ops.batch_norm import Running
from mtp.ops.canvas import Sizes, halved_sizes, masked, stem_sizes

SIDES, SIZES = (21, 18), ((21, 18), (9, 12), (20, 7))
# more than 28, which a matrix unit takes, and no multiple of what a vector holds
CHANNELS, FEATURES = 44, 33
WIDE = 96  # channels of an expanded map


class Operations(NamedTuple):
    """What the kernels compute, by them or plainly; the last six have no gradient of their own."""

    depthwise: Callable
    normalised: Callable
    window_sums: Callable
    factorised_paths: Callable
    separable: Callable
    inverted_residual: Callable
    projection: Callable
    joined: Callable
    strided_pools: Callable
    stem: Callable


NATIVE = Operations(
    operations.depthwise, operations.normalised, operations.window_sums, operations.factorised_paths,
    fused.separable, fused.inverted_residual, fused.projection, fused.joined, fused.strided_pools, fused.stem,
)  # fmt: skip
PLAIN = Operations(
    depthwise.depthwise, batch_norm.normalised, pooling.window_sums, pooling.factorised_paths,
    fused.plain_separable, fused.plain_inverted_residual, fused.plain_projection, fused.plain_joined,
    fused.plain_strided_pools, fused.plain_stem,
)  # fmt: skip


def _drawn(*shape: int, seed: int = 0) -> Array:
    # by numpy: jax would draw them inside the programs, which then take longer to compile
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def results(of: Operations, x: Map, sizes: Sizes) -> dict[str, list[Array]]:
    """Values, and gradients where training uses the operation."""
    gamma, ones = _drawn(CHANNELS), jnp.ones(FEATURES)
    running = Running(gamma, gamma, jnp.array(False))
    rest = _drawn(CHANNELS, FEATURES), _drawn(FEATURES), ones
    found = {}
    for stride, after in ((1, sizes), (2, halved_sizes(sizes))):
        for window in (3, 5, 7):
            kernel = _drawn(window, window, CHANNELS)
            found[f"depthwise {window}x{window}, stride {stride}"] = _with_gradients(
                lambda x, kernel, stride=stride: of.depthwise(x, sizes, kernel, stride), after, x, kernel
            )
        found[f"window sums, stride {stride}"] = _with_gradients(
            lambda x, stride=stride: of.window_sums(x, sizes, stride), after, x
        )
        layers = [Layer(_drawn(window, window, CHANNELS), *rest) for window in (3, 5, 7)]
        onto = _drawn(len(SIZES), *(-(-side // stride) for side in SIDES), FEATURES)
        several = of.separable(x, sizes, (*layers, layers[0]._replace(onto=onto)), stride)
        found[f"separable layers, stride {stride}"] = _inside(several, after)
        wide, (*_, scale, shift) = _drawn(CHANNELS, WIDE), rest
        kernel, between, matrix = _drawn(5, 5, WIDE), _drawn(WIDE), _drawn(WIDE, FEATURES)
        expansion = Expansion(wide, jnp.ones(WIDE), between)
        residuals = (
            Residual(expansion, kernel, between, matrix, scale, shift, onto),
            Residual(None, _drawn(3, 3, CHANNELS), gamma, *rest),
        )
        found[f"inverted residuals, stride {stride}"] = _inside(
            [of.inverted_residual(x, sizes, each, stride, 6.0) for each in residuals], after
        )
    norm = _with_gradients(lambda x, *p: of.normalised(x, sizes, *p, running, 1e-3), sizes, x, gamma, gamma)
    projections = [of.projection(x, sizes, *rest, rectified) for rectified in (False, True)]
    sums = Sum((x, x)), Sum((x,), (x,)), Sum((), (x, x)), Sum((x,))
    stem = of.stem(x[..., :3], sizes, _drawn(3, 3, 3, FEATURES), *rest[1:])
    return found | {
        "batch norm": norm,
        "factorised paths": _with_gradients(lambda x: of.factorised_paths(x, sizes), halved_sizes(sizes), x),
        "projections": _inside(projections, sizes),
        "joined maps": _inside(of.joined(sums, sizes), sizes),
        "strided pools": _inside(of.strided_pools(x, sizes), halved_sizes(sizes)),
        "stem": _inside(stem, stem_sizes(sizes)),
    }


def _with_gradients(operation: Callable, after: Sizes, x: Map, *parameters: Array) -> list[Array]:
    values, pull_back = jax.vjp(operation, x, *parameters)
    # another seed: a batch norm's gradient by x vanishes where dy is x
    drawn = jax.tree.map(lambda y: _drawn(*y.shape, seed=1), values)
    dx, *others = pull_back(jax.tree.map(lambda dy: masked(dy, after) if dy.ndim == 4 else dy, drawn))
    return [*_inside(values, after), *_inside(dx, jnp.array(SIZES)), *others]


def _inside(maps: Any, sizes: Sizes) -> list[Array]:
    """What lies outside the pictures is not defined."""
    return [masked(y, sizes) if y.ndim == 4 else y for y in jax.tree.leaves(maps)]


def deviations() -> dict[str, float]:
    """Of each kernel; the library must be loaded."""
    pictures = _drawn(len(SIZES), *SIDES, CHANNELS), jnp.array(SIZES)
    native, plain = (jax.jit(results, static_argnums=0)(of, *pictures) for of in (NATIVE, PLAIN))

    def apart(mine: Array, theirs: Array) -> Array:
        return jnp.max(jnp.abs(mine - theirs)) / jnp.max(jnp.abs(theirs))

    # not Python's max, which passes over NaN
    return {name: float(np.max([*map(apart, native[name], plain[name])])) for name in plain}


if __name__ == "__main__":
    library.register(Path(sys.argv[1]))
    print(json.dumps(deviations()))
