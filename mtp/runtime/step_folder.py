"""One saved step: a folder that is there whole or not at all, and is read with every byte checked.

`model.bin` and `training.bin` hold the bytes of packed vectors (`packing`), `meta.json` the listings of their arrays,
what the caller saved, and SHA-256 of the two and of itself. `score.json` is written later, once the step was validated.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtp import files
from mtp.runtime import packing
from mtp.runtime.packing import Listing, Vectors

ITEMS = ("model", "training")  # those that hold arrays
META, SCORE = "meta.json", "score.json"
# keys in the stored meta: of each item the `Listing`; of each item's bytes and of the meta the SHA-256
ARRAYS, CHECKSUMS = "arrays", "sha256"
RATED = "rated"  # whether a score follows
_NUMBER = re.compile(r"[0-9]+").fullmatch
UNFINISHED, REMOVED, DAMAGED = ".tmp", ".removed", ".damaged"  # what else a folder of a step can end in


class DamagedError(ValueError):
    """A step's folder cannot be read as it was saved; the message goes on after the folder's name."""


class Stored(NamedTuple):
    """What a step's meta says: of its arrays and checksums, item by item, and what was saved as its meta.

    rated: whether its score is written once it was validated.
    """

    folder: Path
    rated: bool
    arrays: dict[str, Listing]
    sums: dict[str, str]
    meta: dict[str, Any]


def write(
    folder: Path, items: Mapping[str, tuple[Vectors, Listing]], meta: Mapping[str, Any], *, rated: bool
) -> None:
    """On the disk before it gets its name; rated: a score will follow. Errors: OSError; nothing is left then."""
    temporary = folder.with_name(folder.name + UNFINISHED)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        sums = {name: _write_vectors(temporary / _file(name), items[name][0]) for name in ITEMS}
        listings = {name: listing for name, (_, listing) in items.items()}
        content = {**meta, RATED: rated, ARRAYS: listings}
        sums["meta"] = _checksum_of_json(content)
        files.write_text(temporary / META, json.dumps({**content, CHECKSUMS: sums}, indent=1) + "\n")
        files.to_disk(temporary)
        temporary.rename(folder)
        files.to_disk(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove(folder: Path) -> None:
    """A removal that is cut short leaves nothing that looks like a step."""
    aside = folder.with_name(folder.name + REMOVED)
    folder.rename(aside)
    shutil.rmtree(aside)


def set_aside(folder: Path) -> Path:
    """Out of the way, under a name that is no step's: where it lies now."""
    aside = folder.with_name(folder.name + DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def read_meta(folder: Path) -> Stored:
    """Errors: DamagedError."""
    if not (folder / META).is_file() and any((folder / name).is_dir() for name in ("meta", "state")):
        raise DamagedError(
            "was saved by an earlier version, in another form; train again in a new workdir, or use that version"
        )
    content = _read_json(folder / META)
    sums = content.pop(CHECKSUMS, None)
    if not isinstance(sums, dict) or sums.get("meta") != _checksum_of_json(content):
        raise DamagedError("is damaged: its meta does not have the checksum it was saved with")
    return Stored(folder, content.pop(RATED), content.pop(ARRAYS), sums, content)


def read_vectors(stored: Stored, item: str) -> Vectors:
    """An item's vectors. Errors: DamagedError where a byte is not as it was saved."""
    path, lengths = stored.folder / _file(item), packing.lengths(stored.arrays[item])
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(f"is damaged: its {item} is missing ({path.name})") from error
    wanted = sum(length * np.dtype(name).itemsize for name, length in lengths.items())
    if len(data) != wanted:
        raise DamagedError(f"is damaged: its {item} has {len(data)} bytes, not the {wanted} that were saved")
    if hashlib.sha256(data).hexdigest() != stored.sums[item]:
        raise DamagedError(f"is damaged: its {item} does not have the checksum it was saved with")
    vectors, first = {}, 0
    for name in sorted(lengths):
        vectors[name] = np.frombuffer(data, name, lengths[name], first)
        first += vectors[name].nbytes
    return vectors


def check(folder: Path, *, latest: bool) -> None:
    """Read everything. Errors: DamagedError."""
    stored = read_meta(folder)
    for item in ITEMS:
        read_vectors(stored, item)
    read_score(folder, latest=latest)


def write_score(folder: Path, score: float | None) -> None:
    """None, or a number that is not finite: validated, and never the best."""
    known = score if score is not None and math.isfinite(score) else None
    content = {"step": int(folder.name), "score": known}
    files.write_json(folder / SCORE, {**content, CHECKSUMS: _checksum_of_json(content)})


def awaits_score(folder: Path) -> bool:
    """Whether it is still to be validated. Errors: DamagedError."""
    return read_meta(folder).rated and not (folder / SCORE).exists()


def read_score(folder: Path, *, latest: bool) -> float | None:
    """None where there is none; only the latest step's may still have to come. Errors: DamagedError."""
    if awaits_score(folder) and not latest:
        raise DamagedError(f"is damaged: its score is missing ({SCORE})")
    if not (folder / SCORE).exists():
        return None
    content = _read_json(folder / SCORE)
    stored = content.pop(CHECKSUMS, None)
    if stored != _checksum_of_json(content) or content.get("step") != int(folder.name):
        raise DamagedError("is damaged: its score does not have the checksum it was saved with")
    return content["score"]


def steps(directory: Path) -> list[int]:
    """Ascending; what other folders hold is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(int(path.name) for path in directory.iterdir() if _NUMBER(path.name) and path.is_dir())
    return []


def sweep(directory: Path) -> None:
    """Remove what saves and removals that were cut short have left."""
    for path in directory.iterdir():
        number, suffix = os.path.splitext(path.name)
        if _NUMBER(number) and suffix in (UNFINISHED, REMOVED):
            shutil.rmtree(path)


def _file(item: str) -> str:
    return f"{item}.bin"


def _write_vectors(path: Path, vectors: Vectors) -> str:
    """One behind the other in the order of their names; SHA-256 of the bytes."""
    digest = hashlib.sha256()
    with files.named(path), path.open("wb") as file:
        for name in sorted(vectors):
            data = np.ascontiguousarray(vectors[name]).view(np.uint8).data
            file.write(data)
            digest.update(data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    name = path.stem
    try:
        found = files.read_json(path)
    except files.DamagedFileError as error:
        raise DamagedError(f"is damaged: its {name} is no JSON object ({path.name})") from error
    if found is None:
        raise DamagedError(f"is damaged: its {name} is missing ({path.name})")
    return found


def _checksum_of_json(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
