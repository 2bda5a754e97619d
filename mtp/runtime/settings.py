"""Settings of jax, XLA and malloc for a process: everything that is set once, before a program runs."""

import ctypes
import os
import platform
from pathlib import Path

import jax
from absl import logging

from mtp import files
from mtp.config import CACHE, Config
from mtp.processes.ending import explained
from mtp.runtime.kept_programs import remove_damaged

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
# mallopt's parameters (malloc.h)
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def configure(config: Config) -> None:
    """Where compiled programs are kept, that libraries say nothing short of errors, what becomes of freed memory, and
    whether sums on a GPU have one order (options: `run`).

    To be called before jax' first look at its devices.
    """
    logging.set_verbosity(logging.ERROR)
    if config.run.deterministic and DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
        print(f"XLA_FLAGS={os.environ['XLA_FLAGS']}")
    keep_programs(config.run.compile_cache or str(CACHE / "xla"))
    keep_freed_memory()


def keep_programs(folder: str) -> None:
    """Have jax keep compiled programs in a folder, and find them there again; those that compile at once stay out.

    Only the user may write to it. Where that cannot be, a line says so, and they are not kept.
    """
    try:
        files.private(Path(folder))
        removed = remove_damaged(Path(folder))
    except OSError as error:
        print(f"note: compiled programs are not kept: {explained(error)}")
        return
    if removed:
        print(f"note: removed {removed} compiled program(s) from {folder} that were cut short")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def keep_freed_memory() -> None:
    """Have glibc hand out freed memory again, instead of returning it to the system, where programs run on CPUs.

    Otherwise a step's temporaries, hundreds of megabytes, are new pages each time, which Linux fills with zeros. Only
    the main thread's heap can hold arrays of any size, so that programs start in the thread that calls them, as they
    do where no large argument must be copied first (see `mtp.data.batches.buckets.place`). To be called before jax'
    first look at its devices; with other devices than CPUs, or without glibc, malloc stays as it is.
    """
    jax.config.update(
        "jax_cpu_enable_async_dispatch", False
    )  # read when the CPU client is made, by the next line
    if jax.default_backend() != "cpu" or platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(MMAP_MAX, 0)  # large arrays lie in the heap, too
    mallopt(TRIM_THRESHOLD, -1)  # and its end never shrinks


def return_freed_memory() -> None:
    """Give the system back what compiling has freed, a gigabyte and more, which glibc keeps; only on CPUs."""
    if jax.default_backend() == "cpu" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def compiler_options(*, run_once: bool = False) -> dict[str, str | bool]:
    """XLA's options for our programs: on CPU those that compile faster, to programs that are no slower.

    run_once: the program runs a single time, so only its compilation counts.
    """
    if jax.default_backend() != "cpu":
        return {}
    level = "0" if run_once else "1"
    return {"xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE", "xla_backend_optimization_level": level}
