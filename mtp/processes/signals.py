"""SIGTERM and Ctrl-C: one line and a status of its own, once everything is saved; a second one ends at once.

A thread reads them, so that they are heeded while the main thread is in compiled code (compiling, computing), where
Python calls no handler; and nothing is raised that a library could swallow.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

HEEDED = (signal.SIGTERM, signal.SIGINT)


def leave(status: int) -> NoReturn:
    """End now: what runs in other threads, such as a compilation, cannot be cancelled, and Python would wait for it.

    Output that nobody reads, or that finds no room, is no success.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # ValueError: it is closed
            status = status or 1
    os._exit(status)


class Stop:
    """While it is open, a signal ends the process with status 128 + its number; afterwards signals do what they did.

    last: called before the end, for what must not be cut short; gives the line's words on what was saved.
    received: the first signal, where it came while `held`.
    """

    def __init__(self, last: Callable[[], str]):
        self.last = last
        self.received: signal.Signals | None = None
        self._held = False
        self._change = threading.Lock()
        self._undo: list[Callable[[], Any]] = []

    def __enter__(self) -> "Stop":
        # Python hands signals to the main thread only; a run in another thread cannot be told
        if threading.current_thread() is threading.main_thread():
            ours, pythons = os.pipe()
            os.set_blocking(pythons, False)
            before = signal.set_wakeup_fd(pythons, warn_on_full_buffer=False)
            # a handler that does nothing: the number reaches the pipe, and nothing is raised
            handlers = [signal.signal(number, lambda *_: None) for number in HEEDED]
            watch = threading.Thread(target=self._watch, args=(ours,), name="signals", daemon=True)
            watch.start()
            self._undo = [
                *(lambda n=n, h=h: signal.signal(n, h) for n, h in zip(HEEDED, handlers, strict=True)),
                lambda: signal.set_wakeup_fd(before),
                lambda: os.close(pythons),
                watch.join,
                lambda: os.close(ours),
            ]
        return self

    def __exit__(self, *_: object) -> None:
        for undo in self._undo:
            undo()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While it lasts, the first signal is only noted: the caller saves, and leaves by `end`."""
        with self._change:
            ending, self._held = self.received, True
        if ending:
            threading.Event().wait()  # for the end, which another thread brings
        try:
            yield
        finally:
            with self._change:
                self._held = False

    def end(self) -> NoReturn:
        """After a signal that was noted: the line, and an exit with the status. Errors: SystemExit."""
        assert self.received
        sys.exit(self._told(self.received))

    def _watch(self, pipe: int) -> None:
        while numbers := os.read(pipe, 16):
            for number in numbers:
                if number in HEEDED:
                    self._heed(signal.Signals(number))

    def _heed(self, number: signal.Signals) -> None:
        with self._change:
            first, noted = self.received is None, self._held and self.received is None
            self.received = self.received or number
        if not first:
            os._exit(128 + number)
        if not noted:
            # beside this thread, which goes on to wait for a second signal
            threading.Thread(target=self._end, args=(number,), daemon=True).start()

    def _end(self, number: signal.Signals) -> NoReturn:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # behind a bar
        try:
            self._told(number)
        finally:
            leave(128 + number)

    def _told(self, number: signal.Signals) -> int:
        """Print the line; the status."""
        print(f"stopped by {number.name}; {self.last()}", file=sys.stderr)
        return 128 + number
