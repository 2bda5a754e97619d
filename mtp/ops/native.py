"""ReLU and depthwise convolution as a compiled kernel for CPUs.  Built once, on request: python -m mtp.ops.native

It gives what `mtp.ops.depthwise` gives, up to the order of float32 sums, as one operation of the program instead of
k * k: the program runs and compiles faster. Elsewhere than on CPUs the convolution stays XLA's. The library lies in
the user's cache, one for each source, jaxlib and CPU.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from mtp.config import CACHE, ConfigError
from mtp.ops.canvas import Sizes
from mtp.ops.depthwise import Depthwise, Kernel, Map, Saved, Strided, convolve, convolve_gradients

SOURCE = Path(__file__).with_name("depthwise.cc")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-pthread")
SYMBOLS = ("DepthwiseForward", "DepthwiseInputGradient", "DepthwiseKernelGradient")


def _cpu() -> str:
    """What -march=native depends on."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else [platform.processor()]
    # the first core's model and instruction sets; "flags" on x86, "Features" on ARM
    wanted = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join([platform.machine(), *wanted[:2]])


def library(folder: Path) -> Path:
    """Where the library for this source, jaxlib and CPU lies in `folder`, built or not."""
    parts = (SOURCE.read_text(), *FLAGS, importlib.metadata.version("jaxlib"), _cpu())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return folder / f"depthwise-{key}.so"


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
        command = [*compiler, *FLAGS, "-isystem", jax.ffi.include_dir(), str(SOURCE), "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise ConfigError(
                f"building the native kernel needs a C++17 compiler; {compiler[0]!r} was not found. Install g++ or "
                "clang, or name one in the environment variable CXX. Everything runs without it too: run.native=False."
            ) from None
        if done.returncode:
            raise ConfigError(f"{shlex.join(command)} failed ({done.returncode}):\n{done.stderr.strip()}")
        made.replace(path)
    return path


@functools.cache
def load(folder: Path = CACHE / "native") -> Depthwise:
    """The built kernel made known to XLA: `depthwise` below. Once a process.

    Errors: ConfigError where it is not built.
    """
    path = library(folder)
    if not path.exists():
        raise ConfigError(
            "run.native=True needs the native kernel, and there is none for this source, jaxlib and CPU. Build it "
            "once with `python -m mtp.ops.native`, which takes seconds, or leave run.native at False."
        )
    loaded = ctypes.cdll.LoadLibrary(str(path))
    for symbol in SYMBOLS:
        jax.ffi.register_ffi_target(symbol, jax.ffi.pycapsule(getattr(loaded, symbol)), platform="cpu")
    return depthwise


def _call(symbol: str, shape: tuple[int, ...], stride: int, *arguments: Array) -> Array:
    """A float32 result of this shape; `arguments` are maps and kernels as float32, and the pictures' sizes."""
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    wide = (a.astype(jnp.float32 if jnp.issubdtype(a.dtype, jnp.floating) else jnp.int32) for a in arguments)
    return jax.ffi.ffi_call(symbol, result)(*wide, stride=np.int64(stride))


def _native(x: Map, sizes: Sizes, kernel: Kernel, *, stride: int) -> Strided:
    b, height, width, channels = x.shape
    shape = (b, -(-height // stride), -(-width // stride), channels)
    return _call("DepthwiseForward", shape, stride, x, sizes, kernel).astype(x.dtype)


def _native_gradients(
    x: Map, sizes: Sizes, kernel: Kernel, dy: Strided, *, stride: int
) -> tuple[Map, Kernel]:
    dx = _call("DepthwiseInputGradient", x.shape, stride, x, sizes, kernel, dy)
    dk = _call("DepthwiseKernelGradient", kernel.shape, stride, x, sizes, dy)
    return dx.astype(x.dtype), dk.astype(kernel.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def depthwise(x: Map, sizes: Sizes, kernel: Kernel, stride: int) -> Strided:
    """`mtp.ops.depthwise.depthwise` with windows 3, 5 and 7; `load` must have been called."""
    return lax.platform_dependent(
        x,
        sizes,
        kernel,
        cpu=partial(_native, stride=stride),
        default=partial(convolve, stride=stride),
    )


def _forward(x: Map, sizes: Sizes, kernel: Kernel, stride: int) -> tuple[Strided, Saved]:
    return depthwise(x, sizes, kernel, stride), (x, sizes, kernel)


def _backward(stride: int, saved: Saved, dy: Strided) -> tuple[Map, None, Kernel]:
    dx, dk = lax.platform_dependent(
        *saved,
        dy,
        cpu=partial(_native_gradients, stride=stride),
        default=partial(convolve_gradients, stride=stride),
    )
    return dx, None, dk


depthwise.defvjp(_forward, _backward)


def main() -> None:
    """Build and say where."""
    started = time.perf_counter()
    try:
        path = build()
    except ConfigError as error:
        sys.exit(f"error: {error}")
    print(f"{path}, {time.perf_counter() - started:.0f} s; used with --config.run.native=True")


if __name__ == "__main__":
    main()
