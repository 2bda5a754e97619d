"""Several layers of inference as one kernel each: convolutions with the batch norm behind them, sums and pools.

By running statistics batch norm is y * scale + shift, which a kernel does while it has the convolution's sums at hand;
where the processor has a matrix unit (AMX), each float32 goes through it as the sum of three bfloat16 numbers. What the
results hold outside the pictures is not defined. Each kernel stands below its definition in plain operations, whose
gradient is the kernel's, too: training does not use running statistics.
"""

import functools
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
Results = tuple[Float[Array, "B h w _"], ...]
Pools = tuple[Halved, Halved]


class Layer(NamedTuple):
    """ReLU, depthwise and pointwise convolution, times scale, plus shift, plus `onto` where it is not None."""

    kernel: Kernel
    matrix: Matrix
    scale: Features
    shift: Features
    onto: Mixed | None = None


class Expansion(NamedTuple):
    """Pointwise convolution of a map to a multiple of 16 channels, times scale, plus shift."""

    matrix: Matrix
    scale: Features
    shift: Features


class Residual(NamedTuple):
    """An inverted residual: an expansion or none, ReLU, depthwise convolution plus `between`, ReLU, pointwise
    convolution, times scale, plus shift, plus `onto` where it is not None.
    """

    expansion: Expansion | None
    kernel: Kernel
    between: Float[Array, " C"]
    matrix: Matrix
    scale: Features
    shift: Features
    onto: Mixed | None = None


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


def plain_separable(x: Map, sizes: Sizes, layers: tuple[Layer, ...], stride: int) -> Results:
    """Several layers of one map, each from the ReLU inside the pictures on."""

    def of(kernel: Kernel, matrix: Matrix, scale: Features, shift: Features, onto: Mixed | None) -> Mixed:
        filtered = depthwise.depthwise(x, sizes, kernel, stride)
        y = transformed(pointwise(filtered, matrix.astype(x.dtype)), scale, shift)
        return y if onto is None else y + onto

    return tuple(of(*layer) for layer in layers)


def _separable(x: Map, sizes: Sizes, layers: tuple[Layer, ...], stride: int) -> Results:
    results = [strided_like(x, stride, layer.matrix.shape[1]) for layer in layers]
    nothing = jnp.zeros((0, 0, 0, 0), jnp.float32)
    parts = [nothing if part is None else part for layer in layers for part in layer]
    wide, *others = as_float32(x, *parts)
    call = jax.ffi.ffi_call("SeparableForward", results)
    return tuple(y.astype(x.dtype) for y in call(wide, sizes, *others, stride=np.int64(stride)))


def plain_inverted_residual(x: Map, sizes: Sizes, residual: Residual, stride: int, ceiling: float) -> Mixed:
    """One of a map; ceiling: of both ReLUs, 6 for ReLU6."""
    if residual.expansion is not None:
        matrix, scale, shift = residual.expansion
        x = transformed(pointwise(x, matrix.astype(x.dtype)), scale, shift)
    filtered = depthwise.depthwise(jnp.minimum(x, ceiling), sizes, residual.kernel, stride)
    y = jnp.clip(filtered + residual.between, 0, ceiling).astype(x.dtype)
    y = transformed(pointwise(y, residual.matrix.astype(x.dtype)), residual.scale, residual.shift)
    return y if residual.onto is None else y + residual.onto


def _inverted_residual(x: Map, sizes: Sizes, residual: Residual, stride: int, ceiling: float) -> Mixed:
    nothing = Expansion(*(jnp.zeros((0,) * rank, jnp.float32) for rank in (2, 1, 1)))
    onto = jnp.zeros((0, 0, 0, 0), jnp.float32) if residual.onto is None else residual.onto
    wide, *parts = as_float32(x, *(residual.expansion or nothing), *residual[1:6], onto)
    y = strided_like(x, stride, residual.matrix.shape[1])
    call = jax.ffi.ffi_call("InvertedResidualForward", y)
    return call(wide, sizes, *parts, stride=np.int64(stride), ceiling=np.float32(ceiling)).astype(x.dtype)


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


inverted_residual = differentiable(
    _inverted_residual, _plain_gradients(plain_inverted_residual, static=2), parameters=1, static=2
)
separable = differentiable(_separable, _plain_gradients(plain_separable, static=1), parameters=1, static=1)
projection = differentiable(_projection, _plain_gradients(plain_projection, static=1), parameters=3, static=1)
joined = differentiable(_joined, _plain_gradients(plain_joined))
strided_pools = differentiable(_strided_pools, _plain_gradients(plain_strided_pools))
stem = differentiable(_stem, _plain_gradients(plain_stem), parameters=3)
