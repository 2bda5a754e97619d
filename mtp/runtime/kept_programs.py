"""Compiled programs that jax keeps in a folder: entries that were cut short are removed.

jax writes an entry in place, so that a full disk or a power cut leaves a part of it; it warns of that part at every
start, compiles again, and never writes over it.
"""

import os
import time
import zlib
from pathlib import Path

ENTRIES, CHECKED = "*-cache", ".checked"  # jax' own names; a file whose time is that of the last look
ZSTD = b"\x28\xb5\x2f\xfd"  # first bytes of a frame: where jax finds zstandard, or on Python 3.14; else it is zlib


def remove_damaged(folder: Path) -> int:
    """How many were removed of those that are newer than the last look. Errors: OSError."""
    now, mark = time.time_ns(), folder / CHECKED
    before = mark.stat().st_mtime_ns if mark.exists() else 0
    newer = [path for path in folder.glob(ENTRIES) if path.stat().st_mtime_ns >= before]
    damaged = [path for path in newer if not is_whole(path.read_bytes())]
    for path in damaged:
        path.unlink(missing_ok=True)
    mark.touch()
    os.utime(mark, ns=(now, now))
    return len(damaged)


def is_whole(entry: bytes) -> bool:
    """Whether compressed bytes go on to their end."""
    if entry.startswith(ZSTD):
        return _ends_zstd(entry)
    inflating = zlib.decompressobj()
    try:
        inflating.decompress(entry)
    except zlib.error:
        return False
    return inflating.eof


def _ends_zstd(frame: bytes) -> bool:
    """From block to block, RFC 8878: whether the last one is there."""
    flags = frame[4] if len(frame) > 4 else 0
    single, checksum = flags >> 5 & 1, flags >> 2 & 1
    content_size = (single, 2, 4, 8)[flags >> 6]
    at = 5 + (not single) + (0, 1, 2, 4)[flags & 3] + content_size
    while at + 3 <= len(frame):
        header = int.from_bytes(frame[at : at + 3], "little")
        repeated = header >> 1 & 3 == 1  # one byte for all
        at += 3 + (1 if repeated else header >> 3)
        if header & 1:
            return at + 4 * checksum <= len(frame)
    return False
