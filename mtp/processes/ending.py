"""How a command ends: done, in a line that says what to mend, or with the traceback of a bug of ours."""

import errno
import io
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from mtp.processes.signals import leave

# what to do about an error of the system's
ADVICE = {
    errno.ENOSPC: "make room, and run the same command to go on",
    errno.EDQUOT: "make room, and run the same command to go on",
    errno.EFBIG: "make room, and run the same command to go on",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "change its permissions, or choose another",
    errno.EPERM: "change its permissions, or choose another",
    errno.ENOTDIR: "a part of the path is a file; choose another",
    errno.EIO: "check the disk",
}


def explained(error: OSError) -> str:
    """A line: which file, what is wrong with it, what to do."""
    what = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    advice = ADVICE.get(error.errno or 0)
    return f"{where}{what}" + (f"; {advice}" if advice else "")


def print_anything() -> None:
    """What the terminal's encoding does not have is printed as a question mark, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def in_a_line(*outside: type[Exception]) -> Iterator[None]:
    """What the outside can do wrong, these errors and the system's, ends the command in one line."""
    try:
        yield
    except outside as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {explained(error)}")


def run(command: Callable[[], object]) -> NoReturn:
    """Call it and end the process at once, with its status, whatever other threads still do.

    `sys.exit` with a text is the way to end in a line; any other exception shows its traceback.
    """
    print_anything()
    try:
        command()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
        status = 1
    else:
        status = 0
    leave(status)
