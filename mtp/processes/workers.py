"""Worker processes that end with the one that started them, whatever ends it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """So many workers, without the caller's state; Ctrl-C, which a terminal sends to all, is the caller's to heed.

    Errors: ChildProcessError where one was ended by the system, as for want of memory.
    """
    _track_quietly()
    # spawned, since the caller may run threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin) as executor:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            # one starts for each task: they inherit that the signal is blocked, so that it does no harm meanwhile
            for _ in range(processes):
                executor.submit(int)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            yield executor
        except BrokenProcessPool as error:
            raise ChildProcessError(f"a worker was ended, as for want of memory ({error})") from error


def _track_quietly() -> None:
    """Start the tracker of semaphores, which removes what a process leaves that ends at once, without its remark."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, "ignore:resource_tracker:UserWarning")))
    try:
        resource_tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
