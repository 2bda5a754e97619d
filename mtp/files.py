"""Files: written whole or not at all; read, told apart by their content, and found below a folder."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


class DamagedFileError(ValueError):
    """A file of ours is not as it was written; the message names it and says what to do."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """An error of the system's names this file: one of a file that is open, such as a full disk, names none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; what was written takes its place at the end, and an error leaves it as it was.

    On disk before the rename, so that neither a killed run nor a power cut leaves half of a file.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with named(path):
            yield temporary
            to_disk(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until a file, or which files are in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """UTF-8, wherever the program runs."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Indented by one space; NaN and infinity, which JSON cannot say, are errors."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, mend: str = "restore it from a copy") -> dict[str, Any] | None:
    """What `write_json` wrote; None where there is no such file.

    Errors: DamagedFileError where it holds something else, such as nothing after a power cut; mend: what to do then.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:  # not JSON, or not text
        raise DamagedFileError(f"{path} is damaged ({error}); {mend}") from error
    if not isinstance(found, dict):
        raise DamagedFileError(f"{path} is damaged (it holds no object); {mend}")
    return found


def write_array(path: Path, array: np.ndarray) -> None:
    """A .npy without pickles."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path, mend: str) -> np.ndarray | None:
    """What `write_array` wrote; None where there is no such file. Errors: DamagedFileError, as `read_json`."""
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, SyntaxError) as error:
        raise DamagedFileError(f"{path} is damaged ({error}); {mend}") from error


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """An uncompressed .npz without pickles, read at the disk's speed."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def walked(folder: Path) -> Iterator[Path]:
    """Every file in and below a folder, sorted folder by folder; what is hidden is passed over.

    Links are followed, and each real folder is looked at once. Errors: OSError where a folder cannot be read.
    """
    seen = set()
    for place, below, names in os.walk(folder, onerror=_raise, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            below[:] = []  # os.walk then goes no further
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith((".", "__MACOSX")))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def private(folder: Path) -> None:
    """Make a folder for what will be executed, which only its user may write to; one that is there becomes so.

    Errors: PermissionError where it, or a file in it, belongs to somebody else, who could have us execute anything.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (folder, *folder.iterdir()):
        if path.stat().st_uid != os.getuid():
            raise PermissionError(
                errno.EPERM, "what is executed from there must be the user's own", str(path)
            )
    folder.chmod(0o700)


def sha256(path: Path) -> str:
    """Of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
