"""Several layers of inference as one kernel each: convolutions with the batch norm behind them, sums and pools.

By running statistics batch norm is y * scale + shift, which a kernel does while it has the convolution's sums at hand;
where the processor has a matrix unit (AMX), each float32 goes through it as the sum of three bfloat16 numbers. What the
results hold outside the pictures is not defined. Each kernel stands below its definition in plain operations, whose
gradient is the kernel's, too: training does not use running statistics.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mtp.native.operations import as_float32, strided_like
from mtp.ops import depthwise, pooling
from mtp.ops.batch_norm import transformed
from mtp.ops.canvas import Sizes
from mtp.ops.depthwise import Kernel, Map
from mtp.ops.dispatch import differentiable
from mtp.ops.pointwise import pointwise
from mtp.ops.pooling import Halved
from mtp.ops.stem import Images
from mtp.ops.stem import Kernel as StemKernel
from mtp.ops.stem import stem as stem_convolution

Matrix = Float[Array, "C F"]
Mixed = Float[Array, "B h w F"]
Features = Float[Array, " F"]
Channels = Float[Array, " C"]
Results = tuple[Float[Array, "B h w _"], ...]
Pools = tuple[Halved, Halved]


class Layer(NamedTuple):
    """ReLU, depthwise and pointwise convolution, times scale, plus shift, plus `onto` where it is not None.

    between: where it is not None, the depthwise convolution's result plus it goes through a ReLU of its own.
    """

    kernel: Kernel
    matrix: Matrix
    scale: Features
    shift: Features
    onto: Mixed | None = None
    between: Channels | None = None


class Sum(NamedTuple):
    """Of maps, and of the 3x3 averages inside the pictures of others; at least one in all, each (B, H, W, C)."""

    maps: tuple[Map, ...]
    averaged: tuple[Map, ...] = ()


def _plain_gradients(operation: Callable, static: int = 0) -> Callable:
    def gradients(x: Map | tuple[Sum, ...], sizes: Sizes, *others: Any) -> tuple[Any, ...]:
        arrays, options = others[: len(others) - static], others[len(others) - static :]
        *parameters, dy = arrays

        def of_arrays(x: Map | tuple[Sum, ...], *parameters: Any) -> Mixed | Results | Pools:
            return operation(x, sizes, *parameters, *options)

        return jax.vjp(of_arrays, x, *parameters)[1](dy)

    return gradients


def plain_separable(
    x: Map, sizes: Sizes, layers: tuple[Layer, ...], stride: int, ceiling: float = math.inf
) -> Results:
    """Several layers of one map, each from the ReLU inside the pictures on; ceiling: of every ReLU, 6 for ReLU6."""
    x = jnp.minimum(x, ceiling)

    def of(layer: Layer) -> Mixed:
        filtered = depthwise.depthwise(x, sizes, layer.kernel, stride)
        if layer.between is not None:
            filtered = jnp.clip(filtered + layer.between, 0, ceiling).astype(x.dtype)
        y = transformed(pointwise(filtered, layer.matrix.astype(x.dtype)), layer.scale, layer.shift)
        return y if layer.onto is None else y + layer.onto

    return tuple(map(of, layers))


def _separable(
    x: Map, sizes: Sizes, layers: tuple[Layer, ...], stride: int, ceiling: float = math.inf
) -> Results:
    results = [strided_like(x, stride, layer.matrix.shape[1]) for layer in layers]
    nothing = [jnp.zeros((0,) * rank, jnp.float32) for rank in (3, 2, 1, 1, 4, 1)]  # of each part
    parts = [
        none if part is None else part for layer in layers for part, none in zip(layer, nothing, strict=True)
    ]
    wide, *others = as_float32(x, *parts)
    call = jax.ffi.ffi_call("SeparableForward", results)
    options = {"stride": np.int64(stride), "ceiling": np.float32(ceiling)}
    return tuple(y.astype(x.dtype) for y in call(wide, sizes, *others, **options))


def plain_projection(
    x: Map, sizes: Sizes, matrix: Matrix, scale: Features, shift: Features, rectified: bool
) -> Mixed:
    """ReLU where it is `rectified`, then a pointwise convolution, times scale, plus shift."""
    x = jax.nn.relu(x) if rectified else x
    return transformed(pointwise(x, matrix.astype(x.dtype)), scale, shift)


def _projection(
    x: Map, sizes: Sizes, matrix: Matrix, scale: Features, shift: Features, rectified: bool
) -> Mixed:
    call = jax.ffi.ffi_call("ProjectionForward", strided_like(x, 1, matrix.shape[1]))
    wide, *parameters = as_float32(x, matrix, scale, shift)
    return call(wide, sizes, *parameters, rectified=rectified).astype(x.dtype)


def plain_joined(sums: tuple[Sum, ...], sizes: Sizes) -> Map:
    """The sums' channels one after another."""

    def of(maps: tuple[Map, ...], averaged: tuple[Map, ...]) -> Map:
        return functools.reduce(operator.add, [*maps, *(pooling.average_pool(x, sizes) for x in averaged)])

    return jnp.concatenate([of(*each) for each in sums], axis=-1)


def _joined(sums: tuple[Sum, ...], sizes: Sizes) -> Map:
    terms = [(*each.maps, *each.averaged) for each in sums]
    first = terms[0][0]
    y = strided_like(first, 1, sum(x.shape[-1] for x, *_ in terms))
    counts = {name: np.array([len(getattr(each, name)) for each in sums]) for name in Sum._fields}
    call = jax.ffi.ffi_call("JoinForward", y)
    return call(sizes, *as_float32(*(x for each in terms for x in each)), **counts).astype(first.dtype)


def plain_strided_pools(x: Map, sizes: Sizes) -> Pools:
    """The two strided pools of a map: the largest numbers and the averages."""
    return pooling.strided_max_pool(x, sizes), pooling.strided_average_pool(x, sizes)


def _strided_pools(x: Map, sizes: Sizes) -> Pools:
    half = strided_like(x, 2)
    largest, average = jax.ffi.ffi_call("StridedPoolsForward", (half, half))(*as_float32(x), sizes)
    return largest.astype(x.dtype), average.astype(x.dtype)


def plain_stem(images: Images, sizes: Sizes, kernel: StemKernel, scale: Features, shift: Features) -> Mixed:
    """The stem's convolution, times scale, plus shift; sizes are the images'."""
    return transformed(stem_convolution(images, kernel.astype(images.dtype)), scale, shift)


def _stem(images: Images, sizes: Sizes, kernel: StemKernel, scale: Features, shift: Features) -> Mixed:
    b, height, width, _ = images.shape
    y = jax.ShapeDtypeStruct((b, (height - 1) // 2, (width - 1) // 2, kernel.shape[-1]), jnp.float32)
    wide, *parameters = as_float32(images, kernel, scale, shift)
    return jax.ffi.ffi_call("StemForward", y)(wide, sizes, *parameters).astype(images.dtype)


separable = differentiable(_separable, _plain_gradients(plain_separable, static=2), parameters=1, static=2)
projection = differentiable(_projection, _plain_gradients(plain_projection, static=1), parameters=3, static=1)
joined = differentiable(_joined, _plain_gradients(plain_joined))
strided_pools = differentiable(_strided_pools, _plain_gradients(plain_strided_pools))
stem = differentiable(_stem, _plain_gradients(plain_stem), parameters=3)
