"""ReLU and depthwise convolution with Keras' padding, its windows centred from the bottom-right corner.

NASNet puts a ReLU before every depthwise convolution, and a canvas needs zeros outside its pictures there: one
operation of all three lets each implementation do them in one go.

XLA lowers a grouped convolution on CPU to a scalar loop; the same convolution as a sum of shifted products
vectorises over channels. Both are here, with their own gradients, chosen by platform at lowering time.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mtp.ops.canvas import Sizes, masked
from mtp.ops.dispatch import by_platform, differentiable

Map = Float[Array, "B H W C"]
Kernel = Float[Array, "k k C"]
Strided = Float[Array, "B h w C"]  # ceil(H / stride), ceil(W / stride)
Gradients = tuple[Map, Kernel]


def padding(side: int, window: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side: "same" for stride 1, Keras' `correct_pad` for stride 2."""
    after = window // 2
    return (after - 1 if stride == 2 and side % 2 == 0 else after), after


def _pads(x: Map, window: int, stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return padding(x.shape[1], window, stride), padding(x.shape[2], window, stride)


def _padded(x: Map, window: int, stride: int) -> Strided:
    rows, columns = _pads(x, window, stride)
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)))


def _strided(x: Map, row: int, column: int, height: int, width: int, stride: int) -> Strided:
    stop = row + stride * (height - 1) + 1, column + stride * (width - 1) + 1
    limits, strides = (x.shape[0], *stop, x.shape[3]), (1, stride, stride, 1)
    return lax.slice(x, (0, row, column, 0), limits, strides)


def _rectified(x: Map, sizes: Sizes) -> Map:
    """max(x, 0) inside the pictures, 0 outside."""
    return masked(jax.nn.relu(x), sizes)


def convolve(x: Map, sizes: Sizes, kernel: Kernel, stride: int) -> Strided:
    """`depthwise` by XLA's own grouped convolution."""
    return lax.conv_general_dilated(
        _rectified(x, sizes),
        kernel[:, :, None, :].astype(x.dtype),
        (stride, stride),
        _pads(x, kernel.shape[0], stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def convolve_gradients(x: Map, sizes: Sizes, kernel: Kernel, dy: Strided, stride: int) -> Gradients:
    """Its gradients by x and kernel, for the gradient dy by its result."""
    return jax.vjp(lambda x, kernel: convolve(x, sizes, kernel, stride), x, kernel)[1](dy)


def _shifted_sum(x: Map, sizes: Sizes, kernel: Kernel, stride: int) -> Strided:
    k = kernel.shape[0]
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    wide = _padded(_rectified(x, sizes), k, stride).astype(jnp.float32)
    total = jnp.zeros((x.shape[0], height, width, x.shape[3]), jnp.float32)
    for i in range(k):
        for j in range(k):
            total += _strided(wide, i, j, height, width, stride) * kernel[i, j]
    return total.astype(x.dtype)


def _input_gradient(x: Map, kernel: Kernel, dy: Strided, stride: int) -> Map:
    """Correlation of dy with the flipped kernel, one output phase (position modulo stride) at a time."""
    k = kernel.shape[0]
    (top, bottom), (left, right) = _pads(x, k, stride)
    height = -(-(x.shape[1] + top + bottom) // stride)
    width = -(-(x.shape[2] + left + right) // stride)
    reach = (k - 1) // stride
    spare = ((reach, height - dy.shape[1]), (reach, width - dy.shape[2]))
    wide = jnp.pad(dy.astype(jnp.float32), ((0, 0), *spare, (0, 0)))
    rows = []
    for a in range(stride):
        columns = []
        for b in range(stride):
            phase = jnp.zeros((x.shape[0], height, width, x.shape[3]), jnp.float32)
            for i in range(a, k, stride):
                for j in range(b, k, stride):
                    r, c = reach - i // stride, reach - j // stride
                    phase += _strided(wide, r, c, height, width, 1) * kernel[i, j]
            columns.append(phase)
        rows.append(jnp.stack(columns, axis=3))
    full = jnp.stack(rows, axis=2).reshape(x.shape[0], height * stride, width * stride, x.shape[3])
    return full[:, top : top + x.shape[1], left : left + x.shape[2], :].astype(x.dtype)


def _kernel_gradient(x: Map, kernel: Kernel, dy: Strided, stride: int) -> Kernel:
    """Scan over output rows: each needs only the k input rows under it, which stay in cache."""
    k = kernel.shape[0]
    wide, width = _padded(x, k, stride), dy.shape[2]

    def add_row(total: Kernel, row: Array) -> tuple[Kernel, None]:
        window = lax.dynamic_slice_in_dim(wide, row * stride, k, axis=1).astype(jnp.float32)
        gradient = lax.dynamic_slice_in_dim(dy, row, 1, axis=1).astype(jnp.float32)
        taps = [window[:, :, j : j + stride * (width - 1) + 1 : stride, :] for j in range(k)]
        return total + jnp.stack([jnp.sum(tap * gradient, axis=(0, 2)) for tap in taps], axis=1), None

    zero = jnp.zeros(kernel.shape, jnp.float32)
    return lax.scan(add_row, zero, jnp.arange(dy.shape[1]))[0].astype(kernel.dtype)


def _shifted_gradients(x: Map, sizes: Sizes, kernel: Kernel, dy: Strided, stride: int) -> Gradients:
    z = _rectified(x, sizes)
    dx = jnp.where(z > 0, _input_gradient(z, kernel, dy, stride), 0)
    return dx, _kernel_gradient(z, kernel, dy, stride)


# ReLU, then one k x k filter a channel: (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), C), stride 1 or 2.
# What x holds outside its pictures of `sizes` does not matter. Sums are in float32.
depthwise = differentiable(
    by_platform(_shifted_sum, convolve, static=1),
    by_platform(_shifted_gradients, convolve_gradients, static=1),
    parameters=1,
    static=1,
)
