"""Compiled programs kept whole on CPUs: where all are there, a start traces, lowers and compiles nothing.

jax's own cache is asked by a program's text, and getting that text takes most of a second start. A program kept here
is found by everything that it is made from instead: a wrong find would be a wrong result without a word, so whatever
cannot be described to its last value is not kept. The files lie in a folder of jax's cache; like jax's own they hold
machine code, and besides a pickle, so a cache folder must be as trustworthy as the programs that one runs.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pickle
import platform
import sys
import tempfile
import threading
import time
import types
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import serialize_executable
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtp.native import library as native
from mtp.ops.kernels import PLAIN, Kernels

NEWEST = 64  # files kept, the programs of 16 trainings; up to 3.3 MB each
SETTLED = 60.0  # seconds since the package's last change: more than its import takes
# packages whose code the versions or the files' hash tell
TOLD = frozenset("builtins collections flax functools jax jaxlib ml_collections mtp numpy optax".split())
VALUES = (type(None), bool, int, float, complex, str, bytes, np.dtype)
# what XLA, jax and their thread pools read
VARIABLES = ("EIGEN", "JAX", "NPROC", "OMP", "PJRT", "TF_XLA", "XLA")
# lines of /proc/cpuinfo on x86 and ARM
PROCESSOR = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU ", "Features")


class _Here(threading.local):
    """made: whether XLA has compiled, and jax's cache taken, a program in this thread."""

    made = False


_here = _Here()


def _listen(event: str, **_: Any) -> None:
    # told by jax after a compilation, in the thread of it; without the event nothing would be kept
    if event == "/jax/compilation_cache/cache_misses":
        _here.made = True


jax.monitoring.register_event_listener(_listen)


class Undescribed(TypeError):
    """It cannot be told whether two of these would make the same program."""


def _source() -> str | None:
    """SHA-256 of the package's files as they were imported; None where they may have changed since."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    files = sorted(path for path in root.rglob("*") if path.suffix in (".py", ".cc", ".h"))
    for path in files:
        digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode() + path.read_bytes())
    settled = files and max(path.stat().st_mtime for path in files) < time.time() - SETTLED
    return digest.hexdigest() if settled else None


SOURCE = _source()  # at import: what is edited later is not what runs


@functools.cache
def _installed() -> str | None:
    """Python's version and SHA-256 of what pip recorded of every package; None where one that we use can be edited."""
    digest = hashlib.sha256(sys.version.encode())
    for package in sorted(importlib.metadata.distributions(), key=lambda each: (each.name, each.version)):
        files, origin = (package.read_text(name) or "" for name in ("RECORD", "direct_url.json"))
        if package.name in TOLD - {"mtp"} and json.loads(origin or "{}").get("dir_info", {}).get("editable"):
            return None
        digest.update(f"{package.name} {package.version}\n{files}\n{origin}\n".encode())
    return digest.hexdigest()


def _processor() -> str:
    """What XLA compiles for; where the system does not tell, the machine's name."""
    told = Path("/proc/cpuinfo")
    if not told.exists():
        return f"{native.cpu()} {platform.node()}"
    first = told.read_text().split("\n\n")[0].splitlines()
    return "\n".join(line for line in first if line.startswith(PROCESSOR))


def described(value: Any) -> str:
    """A text that differs between values that could make different programs, and is the same in every process.

    Functions are described by their place and by all that they close over. Errors: Undescribed.
    """
    kind = _named(type(value))
    if isinstance(value, VALUES):
        return f"{kind} {value!r}"
    if isinstance(value, type):
        return f"{kind} {_named(value)}"
    if isinstance(value, Kernels):
        return f"{kind} {_kernels(value)}"
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        return f"{kind} {array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    return f"{kind}({', '.join(described(part) for part in _parts(value))})"


def _named(what: Any) -> str:
    """The full name of a class or function.

    Errors: Undescribed where its code is not told by its name: it is of another package, or of a function's call.
    """
    if what.__module__.split(".")[0] not in TOLD:
        raise Undescribed(f"{what.__module__}.{what.__qualname__}")
    if isinstance(what, type) and "<locals>" in what.__qualname__:
        raise Undescribed(what.__qualname__)
    return f"{what.__module__}.{what.__qualname__}"


def _kernels(value: Kernels) -> str:
    for name, known in (("plain", PLAIN), ("native", native.KERNELS)):
        if value is known:
            return name
    raise Undescribed("kernels of one's own")


def _parts(value: Any) -> list[Any]:
    match value:
        case types.FunctionType():
            return _of_function(value)
        case types.MethodType():
            return [value.__func__, value.__self__]
        case functools.partial():
            return [value.func, value.args, value.keywords]
        case tuple() | list():
            return list(value)
        case Mapping() | ConfigDict():
            # in their order, which may be a program's order
            return [part for item in value.items() for part in item]
        case _ if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return [part for name in names for part in (name, getattr(value, name))]
        case _:
            raise Undescribed(type(value).__qualname__)


def _of_function(function: types.FunctionType) -> list[Any]:
    code = function.__code__
    try:
        closed_over = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        raise Undescribed(f"{function.__qualname__} closes over what is not there yet") from None
    # two functions of one name, such as lambdas of one line, differ in their columns
    place = f"{_named(function)} {code.co_code!r} {list(code.co_positions())}"
    return [place, function.__defaults__, function.__kwdefaults__, closed_over, vars(function)]


def _arguments(tree: Any) -> str:
    """Structure, shapes, types and places of a program's arguments, which are arrays or their shapes."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [
        f"{x.shape} {x.dtype} {getattr(x, 'weak_type', False)} {x.sharding} {getattr(x, 'committed', True)}"
        for x in leaves
    ]
    return "\n".join([str(structure), *arrays])


def _machine(mesh: Mesh) -> str:
    """Everything outside of a program that its compiled form can depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    devices = [(d.id, d.platform, d.device_kind, d.client.platform_version) for d in mesh.devices.flat]
    variables = sorted(item for item in os.environ.items() if item[0].startswith(VARIABLES))
    settings = sorted((name, repr(value)) for name, value in jax.config.values.items())
    parts = (SOURCE, _installed(), _processor(), os.cpu_count(), cores, devices, variables, settings)
    return "\n".join(map(str, parts))


def _folder() -> Path | None:
    """Where programs are kept: beside jax's own, if jax keeps them in a folder of this machine."""
    settings = jax.config.values
    cache = settings["jax_compilation_cache_dir"] if settings["jax_enable_compilation_cache"] else None
    if not cache or "://" in cache or jax.default_backend() != "cpu" or jax.process_count() > 1:
        return None
    return Path(cache) / "executables"


def address(name: str, made_from: Any, arguments: Any, mesh: Mesh) -> Path | None:
    """Where the program of `made_from` for such arguments is kept, or would be; None where it is not to be.

    name: of the code that makes the program, which must be mtp's; made_from: everything that it closes over.
    Not to be kept are programs of other devices than CPUs, of code that has just changed or of values that cannot be
    described, and any program while jax keeps none in a folder.
    """
    if (folder := _folder()) is None or SOURCE is None or _installed() is None:
        return None
    try:
        text = "\n".join([name, described(made_from), _arguments(arguments), _machine(mesh)])
    except Undescribed:
        return None
    return folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()}"


def read(path: Path, mesh: Mesh) -> Any | None:
    """The program kept at `path`, on the devices of `mesh`.

    None where there is none, and, with a note, where it is damaged or XLA does not take it.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, packed = content[:32], content[32:]
    if hashlib.sha256(packed).digest() != digest:
        print(f"note: the kept program {path} is damaged; it is made anew")
        return None
    payload, in_tree, out_tree = pickle.loads(zlib.decompress(packed))
    try:
        program = serialize_executable.deserialize_and_load(
            payload, in_tree, out_tree, execution_devices=list(mesh.devices.flat)
        )
    except jax.errors.JaxRuntimeError as error:
        print(f"note: XLA does not take the kept program {path}; it is made anew ({error})")
        return None
    with contextlib.suppress(OSError):  # it may have been removed meanwhile, or be another user's
        os.utime(path)
    return program


def compiled(
    lowered: jax.stages.Lowered, options: dict[str, str | bool], path: Path | None
) -> jax.stages.Compiled:
    """The program, which is kept at `path` if XLA has compiled it here.

    One that jax's cache holds is not: XLA does not write the machine code of a program that it has read itself.
    """
    _here.made = False
    program = lowered.compile(options)
    if path and _here.made:
        keep(program, path)
    return program


def keep(program: jax.stages.Compiled, path: Path) -> None:
    """Write the program to `path`, whole or not at all, and remove the oldest beyond the newest `NEWEST`.

    program: one that XLA has compiled in this process. What cannot be written is not kept, with a note.
    """
    try:
        packed = zlib.compress(pickle.dumps(serialize_executable.serialize(program)), 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as unfinished:
            made = Path(unfinished) / path.name
            made.write_bytes(hashlib.sha256(packed).digest() + packed)
            made.replace(path)
        _prune(path.parent)
    # ValueError and NotImplementedError: jax cannot serialise such a program
    except (OSError, ValueError, NotImplementedError, jax.errors.JaxRuntimeError) as error:
        print(f"note: a compiled program could not be kept; the next start takes longer ({error})")


def _prune(folder: Path) -> None:
    ages = {}
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process prunes too
            if path.is_file():
                ages[path] = path.stat().st_mtime
    for path in sorted(ages, key=ages.__getitem__)[:-NEWEST]:
        path.unlink(missing_ok=True)
