"""How many pixels are decoded at once, by all threads and by several processes, whatever the number of either."""

import ctypes
import dataclasses
import fcntl
import functools
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

PIXELS = 150_000_000  # in flight; up to 8 bytes each
LARGE = 30_000_000  # pixels of a picture after which freed memory is given back to the system


Hold = Callable[[int], AbstractContextManager[None]]  # pixels -> entered once they may be decoded


class Budget:
    """A semaphore that counts pixels. A picture of more than all of it waits until it is alone.

    A thread that holds pixels and asks for more gets them: it is at work on the same picture.
    """

    def __init__(self, pixels: int):
        self._pixels = pixels
        self._free = threading.Condition()
        self._held = 0
        self._own = threading.local()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Waits until so many pixels may be decoded."""
        if getattr(self._own, "holds", False):
            yield
            return
        with self._free:
            self._free.wait_for(lambda: self._held == 0 or self._held + pixels <= self._pixels)
            self._held += pixels
        self._own.holds = True
        try:
            yield
        finally:
            self._own.holds = False
            _return_memory(pixels)
            with self._free:
                self._held -= pixels
                self._free.notify_all()


IN_FLIGHT = Budget(PIXELS)


@dataclasses.dataclass(frozen=True)
class Shared:
    """The same among processes that know the file `lock` and their number, each of which decodes one at a time.

    A picture of more than a process' part of `PIXELS` is decoded while no other process decodes such a one. The lock
    goes with a process that is killed.
    """

    lock: Path
    processes: int

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        if pixels * self.processes <= PIXELS:
            yield
            return
        with self.lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
            _return_memory(pixels)


def _return_memory(pixels: int) -> None:
    """After a large picture: glibc keeps what a thread has freed for that thread, in each that decoded one."""
    if pixels >= LARGE and (libc := _glibc()):
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
