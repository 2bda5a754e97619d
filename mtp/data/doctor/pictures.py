"""Every picture of a data set looked at once: decoded to its end, measured, hashed. Killed, it goes on where it was."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from mtp.data import faults, images
from mtp.data.doctor import perceptual
from mtp.data.doctor.listing import Listing
from mtp.data.faults import Kind
from mtp.data.progress import Progress
from mtp.names import shown

TABLE = "seen_2"  # of the journal; what is written under another name is not gone on with
CHUNK = 200  # pictures between two writes: what a kill can lose
KINDS: dict[type[images.ImageError], Kind] = {
    images.EmptyFile: faults.EMPTY_FILE,
    images.WebPage: faults.WEB_PAGE,
    images.UnknownFormat: faults.UNKNOWN_FORMAT,
    images.CameraRaw: faults.CAMERA_RAW,
    images.Damaged: faults.DAMAGED,
    images.TooLarge: faults.TOO_LARGE,
}


class Seen(NamedTuple):
    """What was seen of one picture.

    fault: name of the kind that keeps it from being decoded, or ""; detail: what came. digest: 16 bytes of the
    file's SHA-256. hash: 8 bytes, grey: 256 bytes of `perceptual.describe`. Without a size where there is a fault.
    """

    image: str
    stamp: str
    fault: str
    detail: str
    height: int
    width: int
    format: str
    mode: str
    deep: bool
    transparent: bool
    animated: bool
    exif_whole: bool
    digest: bytes
    hash: bytes
    grey: bytes


class Journal:
    """What was seen, in a file of SQLite: memory stays flat, and a kill loses at most the last chunk."""

    def __init__(self, path: Path):
        self._base = sqlite3.connect(path)
        columns = ", ".join(Seen._fields)
        self._base.execute(
            f"CREATE TABLE IF NOT EXISTS {TABLE} ({columns}, PRIMARY KEY (image)) WITHOUT ROWID"
        )

    def stamps(self, images: Sequence[str]) -> list[str]:
        """Each picture's stamp when it was seen, "" where it was not."""
        query = f"SELECT stamp FROM {TABLE} WHERE image = ?"
        rows = [self._base.execute(query, (image,)).fetchone() for image in images]
        return [row[0] if row else "" for row in rows]

    def add(self, seen: Sequence[Seen]) -> None:
        marks = ", ".join("?" * len(Seen._fields))
        with self._base:
            self._base.executemany(f"INSERT OR REPLACE INTO {TABLE} VALUES ({marks})", seen)

    def __iter__(self) -> Iterator[Seen]:
        """In the order of their names' bytes, one at a time."""
        return (Seen(*row) for row in self._base.execute(f"SELECT * FROM {TABLE} ORDER BY image"))

    def close(self) -> None:
        self._base.close()


def scan(listing: Listing, journal: Journal, max_pixels: int, threads: int) -> None:
    """Looks at every picture of `listing` that the journal does not hold as it is now."""

    def look(image: str, known: str) -> Seen | None:
        try:
            stamp = f"{max_pixels} {listing.stamp(image)}"
            return None if stamp == known else see(image, stamp, listing.read(image), max_pixels)
        except OSError as error:
            return unseen(image, "", faults.UNREADABLE, str(error), b"")

    count = len(listing.images)
    with ThreadPoolExecutor(threads) as pool, closing(Progress("looking", count)) as bar:
        for start in range(0, count, CHUNK):
            part = listing.images[start : start + CHUNK]
            found = pool.map(look, part, journal.stamps(part))
            journal.add([seen for seen in found if seen])
            bar.update(len(part))


def see(image: str, stamp: str, data: bytes, max_pixels: int) -> Seen:
    """One file's bytes: decoded to the end, measured, hashed."""
    digest = hashlib.sha256(data).digest()[:16]
    try:
        found = images.inspect(data, image, max_pixels)
    except images.ImageError as error:
        # "name: what came; fix", and the kind has the fix
        detail = str(error).removeprefix(f"{shown(image)}: ").rpartition("; ")[0]
        return unseen(image, stamp, KINDS[type(error)], detail, digest)
    number, grey = perceptual.describe(found.small)
    return Seen(
        image=image, stamp=stamp, fault="", detail="", height=found.height, width=found.width, format=found.format,
        mode=found.mode, deep=found.deep, transparent=found.transparent, animated=found.animated,
        exif_whole=found.exif_whole, digest=digest, hash=number.to_bytes(8, "little"), grey=grey.tobytes(),
    )  # fmt: skip


def unseen(image: str, stamp: str, kind: Kind, detail: str, digest: bytes) -> Seen:
    return Seen(image, stamp, kind.name, detail, 0, 0, "", "", False, False, False, True, digest, b"", b"")
