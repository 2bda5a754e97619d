"""NASNet's pools on canvases, and the factorised reduction's sampling."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mtp.ops.canvas import Sizes, masked
from mtp.ops.depthwise import Strided, padding

Map = Float[Array, "B H W C"]
Halved = Float[Array, "B h w C"]  # ceil(H / 2), ceil(W / 2); along one axis inside a separable pool
Paths = tuple[Halved, Halved]


def _padded(x: Array, axes: tuple[int, ...], stride: int) -> Array:
    """With Keras' padding of zeros for windows of 3 along these axes."""
    pads = [padding(side, 3, stride) if axis in axes else (0, 0) for axis, side in enumerate(x.shape)]
    return jnp.pad(x, pads)


def _neighbours(wide: Array, axis: int, stride: int) -> list[Array]:
    """The three terms of a window of 3 along an axis that has its padding."""
    reach = (wide.shape[axis] - 3) // stride * stride + 1
    return [lax.slice_in_dim(wide, start, start + reach, stride, axis) for start in range(3)]


def _sum3(x: Array, axis: int, stride: int) -> Array:
    first, second, third = _neighbours(_padded(x, (axis,), stride), axis, stride)
    return first + second + third


def _max3(wide: Array, axis: int, stride: int) -> Array:
    first, second, third = _neighbours(wide, axis, stride)
    return jnp.maximum(jnp.maximum(first, second), third)


def _positions_in_window(sizes: Array, side: int) -> Array:
    """(B, side): how many of the 3 positions around each lie inside a picture; at least 1."""
    inside = (jnp.arange(side) >= side - sizes[:, None]).astype(jnp.float32)
    return jnp.maximum(_sum3(inside, 1, 1), 1.0)


def window_sums(x: Map, sizes: Sizes, stride: int) -> Strided:
    """Sums over 3x3 windows of the pictures with zeros around them, Keras' padding; stride 1 or 2."""
    return _sum3(_sum3(masked(x, sizes), 1, stride), 2, stride)


def window_sums_gradient(x: Map, sizes: Sizes, dy: Strided, stride: int) -> tuple[Map]:
    """By x, of which only the shape matters, for the gradient dy by the sums."""
    return jax.vjp(lambda x: window_sums(x, sizes, stride), x)[1](dy)


def averages_inside(sums: Map, sizes: Sizes) -> Map:
    """The average pool of stride 1 from its window sums; each mean is over the positions inside the picture."""
    rows = _positions_in_window(sizes[:, 0], sums.shape[1])
    columns = _positions_in_window(sizes[:, 1], sums.shape[2])
    return sums / (rows[:, :, None] * columns[:, None, :])[..., None].astype(sums.dtype)


def average_pool(x: Map, sizes: Sizes) -> Map:
    """3x3, stride 1; each mean over the positions inside the picture only (TensorFlow's "same")."""
    return averages_inside(window_sums(x, sizes, 1), sizes)


def strided_average_pool(x: Map, sizes: Sizes) -> Halved:
    """3x3, stride 2; the zero border counts, as in the original's padded reduction cells."""
    return window_sums(x, sizes, 2) / 9


def strided_max_pool(x: Map, sizes: Sizes) -> Halved:
    """3x3, stride 2; the border's zeros take part, as in the original's padded reduction cells."""
    wide = _padded(masked(x, sizes), (1, 2), 2)
    return _max3(_max3(wide, 1, 2), 2, 2)


def _pad_one_before(x: Array, axis: int) -> Array:
    return jnp.pad(x, [(1, 0) if i == axis else (0, 0) for i in range(x.ndim)])


def _odd_sides(sizes: Sizes) -> tuple[Array, Array]:
    """Whether each picture's height and width are odd, (B, 1, 1, 1) both."""
    odd = (sizes % 2 == 1)[:, :, None, None, None]
    return odd[:, 0], odd[:, 1]


def factorised_paths(x: Map, sizes: Sizes) -> Paths:
    """The two half-resolution samplings of max(x, 0) in NASNet's factorised reduction.

    They sample 0, 2, 4, ... and 1, 3, 5, ... from the top-left corner. From the bottom-right corner that is
    0, 2, ... and -1 (a zero), 1, 3, ... for an odd side, but 1, 3, ... and 0, 2, ... for an even one, so the
    choice is made for each picture and axis.
    """
    height, width = x.shape[1:3]
    # even sides, and behind them the zeros at distance -1
    wide = jnp.pad(jax.nn.relu(x), ((0, 0), (height % 2, 1), (width % 2, 1), (0, 0)))
    odd_rows, odd_columns = _odd_sides(sizes)

    def at(row: int, column: int) -> Halved:
        """Every second cell, the last one at these distances from the end."""
        return wide[:, 1 - row : 1 - row + height : 2, 1 - column : 1 - column + width : 2, :]

    def path(odd: int, even: int) -> Halved:
        """The distance along each axis is this one where the picture's side is odd, and that where it is even."""
        rows = [jnp.where(odd_columns, at(row, odd), at(row, even)) for row in (odd, even)]
        return jnp.where(odd_rows, *rows)

    return path(0, 1), path(-1, 0)


def factorised_gradient(x: Map, sizes: Sizes, dy: Paths) -> tuple[Map]:
    """By x, for the gradients dy by the two paths; a cell was sampled by one of them at most."""
    first, second = dy
    odd_rows, odd_columns = _odd_sides(sizes)

    def cells(row: int, column: int) -> Halved:
        """The gradient by every second cell, the last one at these distances from the end, 0 or 1."""
        later = second
        for axis, distance in ((1, row), (2, column)):
            if distance:  # the path's last one sampled the zero at -1
                later = _pad_one_before(lax.slice_in_dim(later, 0, later.shape[axis] - 1, axis=axis), axis)
        in_first = (odd_rows == (row == 0)) & (odd_columns == (column == 0))
        in_second = (odd_rows == (row == 1)) & (odd_columns == (column == 1))
        return jnp.where(in_first, first, jnp.where(in_second, later, 0))

    rows = [jnp.stack([cells(row, 1), cells(row, 0)], axis=3) for row in (1, 0)]
    batch, height, width, channels = x.shape
    full = jnp.stack(rows, axis=2).reshape(batch, 2 * first.shape[1], 2 * first.shape[2], channels)
    return (jnp.where(x > 0, full[:, height % 2 :, width % 2 :], 0),)
