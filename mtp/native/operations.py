"""Operations that training uses, with their gradients, by compiled kernels: windows of 3, 5 and 7, strides 1 and 2.

Each gives what the plain operation of the same name in `mtp.ops` gives, up to the rounding of float32 sums. XLA makes a
depthwise convolution of k * k products on CPUs and writes each to memory before it sums for batch norm; a kernel reads
its inputs once, and the program also compiles faster. `mtp.native.library.load` must have been called.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mtp.ops import batch_norm
from mtp.ops.batch_norm import Moments, Used
from mtp.ops.canvas import Sizes
from mtp.ops.depthwise import Gradients, Kernel, Map, Strided
from mtp.ops.dispatch import differentiable
from mtp.ops.pooling import Paths


def as_float32(*arrays: Array) -> list[Array]:
    """The kernels compute in float32."""
    return [a.astype(jnp.float32) for a in arrays]


def float32_like(*arrays: Array) -> list[jax.ShapeDtypeStruct]:
    """Results of the arrays' shapes."""
    return [jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in arrays]


def strided_like(x: Map, stride: int, features: int | None = None) -> jax.ShapeDtypeStruct:
    """A result of ceil(side / stride), of x's channels or of `features`."""
    batch, height, width, channels = x.shape
    shape = batch, -(-height // stride), -(-width // stride), channels if features is None else features
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _depthwise(x: Map, sizes: Sizes, kernel: Kernel, stride: int, rectified: bool = True) -> Strided:
    call = jax.ffi.ffi_call("DepthwiseForward", strided_like(x, stride))
    wide, taps = as_float32(x, kernel)
    return call(wide, sizes, taps, stride=np.int64(stride), rectified=rectified).astype(x.dtype)


def _by_input(x: Map, sizes: Sizes, kernel: Kernel, dy: Strided, stride: int, rectified: bool = True) -> Map:
    (like_x,) = float32_like(x)
    call = jax.ffi.ffi_call("DepthwiseInputGradient", like_x)
    dx = call(*as_float32(x), sizes, *as_float32(kernel, dy), stride=np.int64(stride), rectified=rectified)
    return dx.astype(x.dtype)


def _depthwise_gradients(x: Map, sizes: Sizes, kernel: Kernel, dy: Strided, stride: int) -> Gradients:
    (like_kernel,) = float32_like(kernel)
    wide, by_result = as_float32(x, dy)
    call = jax.ffi.ffi_call("DepthwiseKernelGradient", like_kernel)
    dk = call(wide, sizes, by_result, stride=np.int64(stride), rectified=True)
    return _by_input(x, sizes, kernel, dy, stride), dk.astype(kernel.dtype)


def _ones(x: Map) -> Kernel:
    return jnp.ones((3, 3, x.shape[-1]), jnp.float32)


def _window_sums(x: Map, sizes: Sizes, stride: int) -> Strided:
    return _depthwise(x, sizes, _ones(x), stride, rectified=False)


def _window_sums_gradient(x: Map, sizes: Sizes, dy: Strided, stride: int) -> tuple[Map]:
    return (_by_input(x, sizes, _ones(x), dy, stride, rectified=False),)


def _paths(x: Map, sizes: Sizes) -> Paths:
    half = strided_like(x, 2)
    first, second = jax.ffi.ffi_call("FactorisedForward", (half, half))(*as_float32(x), sizes)
    return first.astype(x.dtype), second.astype(x.dtype)


def _paths_gradient(x: Map, sizes: Sizes, dy: Paths) -> tuple[Map]:
    (like_x,) = float32_like(x)
    wide, *by_paths = as_float32(x, *dy)
    return (jax.ffi.ffi_call("FactorisedGradient", like_x)(wide, sizes, *by_paths).astype(x.dtype),)


def _moments(x: Map, sizes: Sizes, guess: Array) -> Moments:
    channels = jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)
    mean, variance = jax.ffi.ffi_call("BatchNormMoments", (channels, channels))(*as_float32(x), sizes)
    return mean, variance


def _norm_gradients(x: Map, sizes: Sizes, used: Used, dy: Map) -> batch_norm.Gradients:
    wide, by_result = as_float32(x, dy)
    call = jax.ffi.ffi_call("BatchNormGradients", float32_like(x, used.gamma, used.gamma))
    dx, d_gamma, d_beta = call(wide, sizes, *used, by_result)
    return dx.astype(x.dtype), d_gamma, d_beta


def _filtered(x: Map, sizes: Sizes, kernel: Kernel, stride: int) -> Strided:
    return _depthwise(x, sizes, kernel, stride)


depthwise = differentiable(_filtered, _depthwise_gradients, parameters=1, static=1)
normalised = batch_norm.differentiable(_moments, _norm_gradients)
window_sums = differentiable(_window_sums, _window_sums_gradient, static=1)
factorised_paths = differentiable(_paths, _paths_gradient)
