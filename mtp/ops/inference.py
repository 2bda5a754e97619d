"""Convolutions with the batch norm behind them as one operation each, for running statistics.

Then batch norm is y * scale + shift, and an implementation can do it while it has the convolution's sums at hand. These
are the plain ones, made of the same operations that training uses.
"""

import functools
import operator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.ops.batch_norm import transformed
from mtp.ops.canvas import Sizes
from mtp.ops.depthwise import Kernel, Map, depthwise
from mtp.ops.pointwise import pointwise
from mtp.ops.pooling import average_pool
from mtp.ops.stem import Images
from mtp.ops.stem import Kernel as StemKernel
from mtp.ops.stem import stem as convolved

Matrix = Float[Array, "C F"]
Mixed = Float[Array, "B h w F"]
Features = Float[Array, " F"]
Results = tuple[Float[Array, "B h w _"], ...]


class Layer(NamedTuple):
    """ReLU, depthwise and pointwise convolution, times scale, plus shift, plus `onto` where it is not None."""

    kernel: Kernel
    matrix: Matrix
    scale: Features
    shift: Features
    onto: Mixed | None = None


class Sum(NamedTuple):
    """Of maps, and of the 3x3 averages inside the pictures of others; at least one in all, each (B, H, W, C)."""

    maps: tuple[Map, ...]
    averaged: tuple[Map, ...] = ()


# (x, sizes, layers, stride) -> Results, (x, sizes, matrix, scale, shift) -> Mixed, (sums, sizes) -> Map and
# (images, sizes, kernel, scale, shift) -> Mixed: the four below, or other implementations of them; a type checker does
# not take jax's custom_vjp for a callable
Separable: TypeAlias = Any
Projection: TypeAlias = Any
Joined: TypeAlias = Any
Stem: TypeAlias = Any


def separable(x: Map, sizes: Sizes, layers: tuple[Layer, ...], stride: int) -> Results:
    """Several layers of one map, each from the ReLU inside the pictures on.

    What the results hold outside the pictures is not defined.
    """

    def of(kernel: Kernel, matrix: Matrix, scale: Features, shift: Features, onto: Mixed | None) -> Mixed:
        y = transformed(pointwise(depthwise(x, sizes, kernel, stride), matrix.astype(x.dtype)), scale, shift)
        return y if onto is None else y + onto

    return tuple(of(*layer) for layer in layers)


def projection(x: Map, sizes: Sizes, matrix: Matrix, scale: Features, shift: Features) -> Mixed:
    """Pointwise convolution of what has had its ReLU, times scale, plus shift; outside the pictures not defined."""
    return transformed(pointwise(x, matrix.astype(x.dtype)), scale, shift)


def joined(sums: tuple[Sum, ...], sizes: Sizes) -> Map:
    """The sums' channels one after another, and ReLU; outside the pictures not defined."""

    def of(maps: tuple[Map, ...], averaged: tuple[Map, ...]) -> Map:
        return functools.reduce(operator.add, [*maps, *(average_pool(x, sizes) for x in averaged)])

    return jax.nn.relu(jnp.concatenate([of(*each) for each in sums], axis=-1))


def stem(images: Images, sizes: Sizes, kernel: StemKernel, scale: Features, shift: Features) -> Mixed:
    """The stem's convolution, times scale, plus shift, and ReLU; sizes are the images'.

    What the result holds outside them is not defined.
    """
    return jax.nn.relu(transformed(convolved(images, kernel.astype(images.dtype)), scale, shift))
