"""One process at a time in a folder: a lock that names its holder and goes with it, however that ends."""

import contextlib
import errno
import json
import os
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on every system
    fcntl = None

NAME = "LOCK"
BEAT, STALE = 5.0, 60.0  # seconds between signs of life, and without one until a holder counts as dead
ASK = 0.2  # seconds between two tries of a process that waits
# what a file system says that has no locks
WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)

Release = Callable[[], None]


class LockError(RuntimeError):
    """Another process is at work there; the message names it."""


@contextmanager
def alone(path: Path, *, wait: bool = False) -> Iterator[None]:
    """While it lasts, no other process is where this file locks; wait: for another one's end, else that is an error.

    Where the file system knows locks (flock) the kernel frees that of a process that has ended. Elsewhere a file beside
    it is touched every `BEAT` seconds: its holder is dead when its process is gone from this machine, or after `STALE`
    seconds without a touch; one that was suspended for longer loses the lock.
    Errors: LockError naming the holder; OSError where the folder cannot be written to.
    """
    release = _taken(path, wait)
    try:
        yield
    finally:
        release()


def holder(path: Path) -> str | None:
    """Which living process is alone where this file locks, in words; None where there is none. Nothing is written."""
    if _is_flocked(path):
        return _named(_holder(path))
    beating = path.with_name(f"{path.name}.held")
    return _named(_holder(beating)) if beating.exists() and not _is_dead(beating, _holder(beating)) else None


def _is_flocked(path: Path) -> bool:
    there = _holder(path)
    if fcntl is None or (there.get("host") == socket.gethostname() and not _runs(there["pid"])):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # for a moment, beside others who ask
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    finally:
        os.close(descriptor)
    return False


def _named(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder['pid']} on {holder['host']} since {holder['since']} ({holder['command']})"


def _taken(path: Path, wait: bool) -> Release:
    told = False
    while True:
        try:
            return _take(path)
        except LockError as held:
            if not wait:
                raise
            if not told:
                print(f"note: waiting, since {held}", flush=True)
            told = True
        time.sleep(ASK)


def _take(path: Path) -> Release:
    """Errors: LockError where another process has it."""
    try:
        return _flocked(path)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    return _beating(path.with_name(f"{path.name}.held"))


def _flocked(path: Path) -> Release:
    """A lock of the kernel's. Errors: OSError of `WITHOUT_LOCKS` where there is no such thing."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no locks on this system", str(path))
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # else its last holder has removed the file between the two lines above
            if _is_still(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _written(_this_process()))
                break
        except BlockingIOError as error:
            os.close(descriptor)
            raise LockError(_in_use(path)) from error
        except OSError as error:
            os.close(descriptor)
            if error.errno in WITHOUT_LOCKS:
                path.unlink(missing_ok=True)
            error.filename = error.filename or str(path)
            raise
        os.close(descriptor)

    def release() -> None:
        # what cannot be removed, such as on a disk that became read-only, is free all the same
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)

    return release


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _beating(path: Path) -> Release:
    """A file that lives as long as it is touched."""
    mine = {**_this_process(), "token": uuid.uuid4().hex}
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            break
        except FileExistsError as error:
            there = _holder(path)
            if not _is_dead(path, there):
                raise LockError(_in_use(path)) from error
            _remove_dead(path, there, mine["token"])
    os.write(descriptor, _written(mine))
    os.close(descriptor)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT) and _holder(path) == mine:
            os.utime(path)

    threading.Thread(target=beat, name="lock", daemon=True).start()

    def release() -> None:
        ended.set()
        if _holder(path) == mine:
            path.unlink(missing_ok=True)

    return release


def _is_dead(path: Path, holder: Mapping[str, Any]) -> bool:
    if holder.get("host") == socket.gethostname() and not _runs(holder["pid"]):
        return True
    try:
        touched = path.stat().st_mtime
    except FileNotFoundError:
        return True
    # by the clock of the file system, which other machines share
    with tempfile.TemporaryFile(dir=path.parent) as probe:
        return os.fstat(probe.fileno()).st_mtime - touched > STALE


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_dead(path: Path, dead: Mapping[str, Any], token: str) -> None:
    """By a rename, which only one of several processes can do; a living one's, created since, goes back."""
    aside = path.with_name(f"{path.name}.{token}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _holder(aside) != dead:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _this_process() -> dict[str, Any]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    command = "".join(sign if sign.isprintable() else " " for sign in " ".join(sys.orig_argv))
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": since,
        "command": command[:200],
    }


def _written(holder: Mapping[str, Any]) -> bytes:
    return (json.dumps(holder) + "\n").encode()


def _holder(path: Path) -> dict[str, Any]:
    """What a lock's file says; nothing where it is not written yet."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _in_use(path: Path) -> str:
    """Where, by whom, since when."""
    there, found = path.parent, _holder(path)
    if not found:
        time.sleep(ASK)  # it has the lock, and is about to write who it is
        found = _holder(path)
    return f"{there} is in use by {_named(found)}; wait for it, or end it"
