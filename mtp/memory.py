"""The process' allocator, set up for XLA on CPUs."""

import ctypes
import platform

# malloc.h of glibc
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER = -1


def keep_freed() -> None:
    """Keep freed memory for the next allocation; call it before jax starts its threads.

    XLA's CPU client allocates a program's temporary arrays, hundreds of megabytes, anew for each run. glibc gives
    blocks of that size back to the system when they are freed, and every page that returns is cleared and mapped
    again: a fifth of a training step's time. Elsewhere than with glibc nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)  # blocks of any size come from the heap
    libc.mallopt(M_ARENA_MAX, 1)  # of which there is one, since the others are cut into pieces of 64 MB
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
