"""What becomes of memory that the process has freed."""

import ctypes
import platform

import jax

# mallopt's parameters (malloc.h)
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def keep_freed() -> None:
    """Have glibc hand out freed memory again, instead of returning it to the system.

    Otherwise a step's temporaries on CPUs, hundreds of megabytes, are new pages each time, which Linux fills with
    zeros. Only the main thread's heap can hold arrays of any size, so that programs start in the thread that calls
    them, as they do where no large argument must be copied first (see `mtp.data.batches.buckets.place`). To be called
    before jax' first look at its devices; without glibc it changes nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(MMAP_MAX, 0)  # large arrays lie in the heap, too
    mallopt(TRIM_THRESHOLD, -1)  # and its end never shrinks
    jax.config.update("jax_cpu_enable_async_dispatch", False)
