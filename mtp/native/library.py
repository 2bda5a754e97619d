"""Building and loading the compiled kernels.  Built once, on request: python -m mtp.native

The library lies in the user's cache, one for each source, jaxlib and CPU.
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
from pathlib import Path

import jax

from mtp import files
from mtp.config import CACHE, ConfigError

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
    files.private(folder)
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
def load(folder: Path = CACHE / "native") -> None:
    """Make the built kernels known to XLA. Once a process.

    Errors: ConfigError where they are not built; PermissionError where they are somebody else's.
    """
    path = library(folder)
    if not path.exists():
        raise ConfigError(
            "run.native=True needs the native kernels, and there are none for this source, jaxlib and CPU. Build it "
            "once with `python -m mtp.native`, which takes seconds, or leave run.native at False."
        )
    files.private(folder)
    loaded = ctypes.cdll.LoadLibrary(str(path))
    for symbol in SYMBOLS:
        jax.ffi.register_ffi_target(symbol, jax.ffi.pycapsule(getattr(loaded, symbol)), platform="cpu")
