"""The trunk's costly operations as compiled kernels for CPUs.  Built once, on request: python -m mtp.native

They give what the plain operations of this folder give, up to the rounding of float32 sums. XLA makes a depthwise
convolution of k * k products on CPUs and writes each to memory before it sums for batch norm; a kernel reads its
inputs once, and the program also compiles faster. At inference one kernel does a whole layer, from ReLU to batch norm;
where the processor has a matrix unit (AMX), each float32 goes through it as the sum of three bfloat16 numbers.
Elsewhere than on CPUs all stays XLA's. The library lies in the user's cache, one for each source, jaxlib and CPU.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mtp.config import CACHE, ConfigError
from mtp.ops import batch_norm, depthwise, inference, pooling
from mtp.ops.batch_norm import Moments, Used
from mtp.ops.canvas import Sizes
from mtp.ops.depthwise import Kernel, Map, Strided
from mtp.ops.dispatch import by_platform, differentiable
from mtp.ops.inference import Features, Layer, Matrix, Mixed, Results, Sum
from mtp.ops.kernels import Kernels
from mtp.ops.pooling import Paths, Pools
from mtp.ops.stem import Images
from mtp.ops.stem import Kernel as StemKernel

SOURCES = Path(__file__).with_name("cc")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-pthread")
SYMBOLS = (
    "DepthwiseForward", "DepthwiseInputGradient", "DepthwiseKernelGradient", "BatchNormMoments", "BatchNormGradients",
    "FactorisedForward", "FactorisedGradient", "SeparableForward", "ProjectionForward", "JoinForward",
    "StridedPoolsForward", "StemForward",
)  # fmt: skip


def cpu() -> str:
    """What -march=native depends on."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else [platform.processor()]
    # the first core's model and instruction sets; "flags" on x86, "Features" on ARM
    wanted = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join([platform.machine(), *wanted[:2]])


def library(folder: Path) -> Path:
    """Where the library for these sources, jaxlib and CPU lies in `folder`, built or not."""
    sources = (path.read_text() for path in sorted(SOURCES.iterdir()))
    parts = (*sources, *FLAGS, importlib.metadata.version("jaxlib"), cpu())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return folder / f"kernels-{key}.so"


def build(folder: Path = CACHE / "native") -> Path:
    """Compile the library into `folder` with $CXX (else c++), unless it is there.

    Errors: ConfigError where there is no compiler or it fails, with what it printed.
    """
    path = library(folder)
    if path.exists():
        return path
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        made = Path(unfinished) / path.name
        sources = [str(path) for path in sorted(SOURCES.glob("*.cc"))]
        command = [*compiler, *FLAGS, "-isystem", jax.ffi.include_dir(), *sources, "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise ConfigError(
                f"building the native kernels needs a C++17 compiler; {compiler[0]!r} was not found. Install g++ or "
                "clang, or name one in the environment variable CXX. Everything runs without it too: run.native=False."
            ) from None
        if done.returncode:
            raise ConfigError(f"{shlex.join(command)} failed ({done.returncode}):\n{done.stderr.strip()}")
        made.replace(path)
    return path


@functools.cache
def load(folder: Path = CACHE / "native") -> Kernels:
    """The built kernels made known to XLA. Once a process.

    Errors: ConfigError where they are not built.
    """
    path = library(folder)
    if not path.exists():
        raise ConfigError(
            "run.native=True needs the native kernels, and there are none for this source, jaxlib and CPU. Build it "
            "once with `python -m mtp.native`, which takes seconds, or leave run.native at False."
        )
    loaded = ctypes.cdll.LoadLibrary(str(path))
    for symbol in SYMBOLS:
        jax.ffi.register_ffi_target(symbol, jax.ffi.pycapsule(getattr(loaded, symbol)), platform="cpu")
    return KERNELS


def _float(*arrays: Array) -> list[Array]:
    return [a.astype(jnp.float32) for a in arrays]


def _float_like(*arrays: Array) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in arrays]


def _depthwise(x: Map, sizes: Sizes, kernel: Kernel, stride: int, rectified: bool = True) -> Strided:
    b, height, width, channels = x.shape
    y = jax.ShapeDtypeStruct((b, -(-height // stride), -(-width // stride), channels), jnp.float32)
    wide, taps = _float(x, kernel)
    call = jax.ffi.ffi_call("DepthwiseForward", y)
    return call(wide, sizes, taps, stride=np.int64(stride), rectified=rectified).astype(x.dtype)


def _by_input(x: Map, sizes: Sizes, kernel: Kernel, dy: Strided, stride: int, rectified: bool = True) -> Map:
    (like_x,) = _float_like(x)
    call = jax.ffi.ffi_call("DepthwiseInputGradient", like_x)
    dx = call(*_float(x), sizes, *_float(kernel, dy), stride=np.int64(stride), rectified=rectified)
    return dx.astype(x.dtype)


def _depthwise_gradients(
    x: Map, sizes: Sizes, kernel: Kernel, dy: Strided, stride: int
) -> depthwise.Gradients:
    (like_kernel,) = _float_like(kernel)
    wide, slope = _float(x, dy)
    call = jax.ffi.ffi_call("DepthwiseKernelGradient", like_kernel)
    dk = call(wide, sizes, slope, stride=np.int64(stride), rectified=True)
    return _by_input(x, sizes, kernel, dy, stride), dk.astype(kernel.dtype)


def _ones(x: Map) -> Kernel:
    return jnp.ones((3, 3, x.shape[-1]), jnp.float32)


def _window_sums(x: Map, sizes: Sizes, stride: int) -> Strided:
    return _depthwise(x, sizes, _ones(x), stride, rectified=False)


def _window_sums_gradient(x: Map, sizes: Sizes, dy: Strided, stride: int) -> tuple[Map]:
    return (_by_input(x, sizes, _ones(x), dy, stride, rectified=False),)


def _paths(x: Map, sizes: Sizes) -> Paths:
    b, height, width, channels = x.shape
    half = jax.ShapeDtypeStruct((b, -(-height // 2), -(-width // 2), channels), jnp.float32)
    (wide,) = _float(x)
    first, second = jax.ffi.ffi_call("FactorisedForward", (half, half))(wide, sizes)
    return first.astype(x.dtype), second.astype(x.dtype)


def _paths_gradient(x: Map, sizes: Sizes, dy: Paths) -> tuple[Map]:
    (like_x,) = _float_like(x)
    wide, *slopes = _float(x, *dy)
    return (jax.ffi.ffi_call("FactorisedGradient", like_x)(wide, sizes, *slopes).astype(x.dtype),)


def _moments(x: Map, sizes: Sizes) -> Moments:
    channels = jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)
    (wide,) = _float(x)
    mean, variance = jax.ffi.ffi_call("BatchNormMoments", (channels, channels))(wide, sizes)
    return mean, variance


def _norm_gradients(x: Map, sizes: Sizes, used: Used, dy: Map) -> batch_norm.Gradients:
    wide, slope = _float(x, dy)
    call = jax.ffi.ffi_call("BatchNormGradients", _float_like(x, used.gamma, used.gamma))
    dx, d_gamma, d_beta = call(wide, sizes, *used, slope)
    return dx.astype(x.dtype), d_gamma, d_beta


def _separable(x: Map, sizes: Sizes, layers: tuple[Layer, ...], stride: int) -> Results:
    b, height, width, _ = x.shape
    size = b, -(-height // stride), -(-width // stride)
    results = [jax.ShapeDtypeStruct((*size, layer.matrix.shape[1]), jnp.float32) for layer in layers]
    nothing = jnp.zeros((0, 0, 0, 0), jnp.float32)
    parts = [nothing if part is None else part for layer in layers for part in layer]
    wide, *others = _float(x, *parts)
    call = jax.ffi.ffi_call("SeparableForward", results)
    return tuple(y.astype(x.dtype) for y in call(wide, sizes, *others, stride=np.int64(stride)))


def _projection(x: Map, sizes: Sizes, matrix: Matrix, scale: Features, shift: Features) -> Mixed:
    y = jax.ShapeDtypeStruct((*x.shape[:3], matrix.shape[1]), jnp.float32)
    wide, *parameters = _float(x, matrix, scale, shift)
    return jax.ffi.ffi_call("ProjectionForward", y)(wide, sizes, *parameters).astype(x.dtype)


def _joined(sums: tuple[Sum, ...], sizes: Sizes) -> Map:
    terms = [(*each.maps, *each.averaged) for each in sums]
    first = terms[0][0]
    y = jax.ShapeDtypeStruct((*first.shape[:3], sum(x.shape[-1] for x, *_ in terms)), jnp.float32)
    counts = {name: np.array([len(getattr(each, name)) for each in sums]) for name in Sum._fields}
    call = jax.ffi.ffi_call("JoinForward", y)
    return call(sizes, *_float(*(x for each in terms for x in each)), **counts).astype(first.dtype)


def _strided_pools(x: Map, sizes: Sizes) -> Pools:
    b, height, width, channels = x.shape
    half = jax.ShapeDtypeStruct((b, -(-height // 2), -(-width // 2), channels), jnp.float32)
    largest, average = jax.ffi.ffi_call("StridedPoolsForward", (half, half))(*_float(x), sizes)
    return largest.astype(x.dtype), average.astype(x.dtype)


def _stem(images: Images, sizes: Sizes, kernel: StemKernel, scale: Features, shift: Features) -> Mixed:
    b, height, width, _ = images.shape
    y = jax.ShapeDtypeStruct((b, (height - 1) // 2, (width - 1) // 2, kernel.shape[-1]), jnp.float32)
    wide, *parameters = _float(images, kernel, scale, shift)
    return jax.ffi.ffi_call("StemForward", y)(wide, sizes, *parameters).astype(images.dtype)


def _plain_gradients(operation: Callable, static: int = 0) -> Callable:
    """Those of the plain operation: nobody trains with running statistics."""

    def gradients(x: Map | tuple[Sum, ...], sizes: Sizes, *others: Any) -> tuple[Any, ...]:
        arrays, options = others[: len(others) - static], others[len(others) - static :]
        *parameters, dy = arrays

        def of_arrays(x: Map | tuple[Sum, ...], *parameters: Any) -> Mixed | Results | Pools:
            return operation(x, sizes, *parameters, *options)

        return jax.vjp(of_arrays, x, *parameters)[1](dy)

    return gradients


# `load` must have been called; windows of 3, 5 and 7
KERNELS = Kernels(
    depthwise=differentiable(
        by_platform(_depthwise, depthwise.convolve, static=1),
        by_platform(_depthwise_gradients, depthwise.convolve_gradients, static=1),
        parameters=1,
        static=1,
    ),
    normalised=batch_norm.differentiable(
        by_platform(_moments, batch_norm.moments), by_platform(_norm_gradients, batch_norm.gradients)
    ),
    window_sums=differentiable(
        by_platform(_window_sums, pooling.window_sums, static=1),
        by_platform(_window_sums_gradient, pooling.window_sums_gradient, static=1),
        static=1,
    ),
    factorised_paths=differentiable(
        by_platform(_paths, pooling.factorised_paths),
        by_platform(_paths_gradient, pooling.factorised_gradient),
    ),
    separable=differentiable(
        by_platform(_separable, inference.separable, static=1),
        _plain_gradients(inference.separable, static=1),
        parameters=1,
        static=1,
    ),
    projection=differentiable(
        by_platform(_projection, inference.projection), _plain_gradients(inference.projection), parameters=3
    ),
    joined=differentiable(by_platform(_joined, inference.joined), _plain_gradients(inference.joined)),
    strided_pools=differentiable(
        by_platform(_strided_pools, pooling.strided_pools), _plain_gradients(pooling.strided_pools)
    ),
    stem=differentiable(by_platform(_stem, inference.stem), _plain_gradients(inference.stem), parameters=3),
)
