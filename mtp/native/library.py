"""Building, checking and loading the compiled kernels, once for each source, jaxlib and processor.

The library lies in the user's cache with its self-check's verdict beside it.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import jax

from mtp import files
from mtp.config import CACHE, ConfigError

FOLDER = CACHE / "native"
SOURCES = Path(__file__).with_name("cc")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-pthread")
SYMBOLS = (
    "DepthwiseForward", "DepthwiseInputGradient", "DepthwiseKernelGradient", "BatchNormMoments", "BatchNormGradients",
    "FactorisedForward", "FactorisedGradient", "SeparableForward", "InvertedResidualForward", "ProjectionForward",
    "JoinForward", "StridedPoolsForward", "StemForward",
)  # fmt: skip
PROCESSORS = ("x86_64", "AMD64")  # as `platform.machine` names what the sources are written for
TOLERANCE = 1e-5  # sums of float32 in another order stay below 1e-6
CRASHES = {signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT}


def cpu() -> str:
    """What -march=native depends on."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else [platform.processor()]
    # the first core's model and instruction sets
    wanted = [line for line in lines if line.startswith(("model name", "flags"))]
    return "\n".join([platform.machine(), *wanted[:2]])


def library(folder: Path) -> Path:
    """Where the library for these sources, jaxlib and CPU lies in `folder`, built or not."""
    sources = (path.read_text() for path in sorted(SOURCES.iterdir()))
    parts = (*sources, *FLAGS, importlib.metadata.version("jaxlib"), cpu())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return folder / f"kernels-{key}.so"


def ensure(folder: Path = FOLDER) -> Path:
    """The library, built and checked where it was not yet, which takes some seconds and is said in a line.

    Errors: ConfigError where that cannot be, or where the self-check has failed, with the reason; PermissionError where
    the folder or a file in it is somebody else's.
    """
    path = library(folder)
    verdict = path.with_suffix(".json")
    files.private(folder)
    known = _verdict(verdict, path)
    if known is None:
        started = time.perf_counter()
        build(path)
        known = {"sha256": files.sha256(path), "failure": failure(path)}
        files.write_json(verdict, known)
        print(f"built and checked in {time.perf_counter() - started:.0f} s ({path})", flush=True)
    if known["failure"]:
        raise ConfigError(
            f"{known['failure']}; to have the kernels built and checked again, delete {verdict}"
        )
    return path


def _verdict(verdict: Path, path: Path) -> dict[str, str] | None:
    """Of the self-check of just this file; what was cut short, by a full disk or a power cut, has none."""
    with suppress(files.DamagedFileError):
        known = files.read_json(verdict)
        if known and path.exists() and known.get("sha256") == files.sha256(path):
            return known
    return None


def build(path: Path) -> None:
    """Compile the library with $CXX (else c++).

    Errors: ConfigError where the processor is none that it is for, there is no compiler, or that fails.
    """
    if platform.machine() not in PROCESSORS:
        raise ConfigError(
            f"the native kernels are for x86-64 processors, and this one is {platform.machine()}"
        )
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if not shutil.which(compiler[0]):
        raise ConfigError(
            f"building the native kernels needs a C++17 compiler, and {compiler[0]!r} was not found; install g++ or "
            "clang, or name one in the environment variable CXX"
        )
    print("building the native kernels, once for this processor", flush=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as unfinished:
        made = Path(unfinished) / path.name
        sources = [str(path) for path in sorted(SOURCES.glob("*.cc"))]
        command = [*compiler, *FLAGS, "-isystem", jax.ffi.include_dir(), *sources, "-o", str(made)]
        done = _run(command)
        if done.returncode:
            raise ConfigError(f"{shlex.join(command)} failed ({done.returncode}): {_last_line(done)}")
        made.replace(path)


def failure(path: Path) -> str:
    """What the self-check finds wrong with a library, in a line; "" where nothing is.

    Errors: ConfigError where it was ended by somebody else.
    """
    done = _run([sys.executable, "-m", "mtp.native.check", str(path)])
    if -done.returncode in CRASHES:
        return f"the native kernels end their self-check by {signal.Signals(-done.returncode).name}"
    if done.returncode < 0:
        raise ConfigError(f"the native kernels' self-check was ended from outside ({done.returncode})")
    if done.returncode:
        return f"the native kernels' self-check failed: {_last_line(done)}"
    found = json.loads(done.stdout)
    # NaN is not below the tolerance
    wrong = [f"{name} by {by:.1e}" for name, by in found.items() if not by <= TOLERANCE]
    return f"the native kernels differ from the plain path in {', '.join(wrong)}" if wrong else ""


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A process that Ctrl-C does not reach: a run that is told to stop saves and ends by itself."""
    paths = [str(SOURCES.parents[2]), os.environ.get("PYTHONPATH", "")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=variables, start_new_session=True
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["it says nothing"])[-1]


@functools.cache
def load(folder: Path = FOLDER) -> None:
    """Make the kernels known to XLA, built and checked before where they were not. Once a process.

    Errors: as `ensure`.
    """
    register(ensure(folder))


def register(path: Path) -> None:
    """Make a library's kernels known to XLA."""
    loaded = ctypes.cdll.LoadLibrary(str(path))
    for symbol in SYMBOLS:
        jax.ffi.register_ffi_target(symbol, jax.ffi.pycapsule(getattr(loaded, symbol)), platform="cpu")
