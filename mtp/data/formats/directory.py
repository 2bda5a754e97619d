"""Directories of TIFF, which EXIF uses as well: tags with their types, counts and places."""

import dataclasses
import struct
from collections.abc import Iterator

from mtp.data.formats.stored import Broken

BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
UNSIGNED = {1: "B", 7: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # types of whole numbers
MOST = 1_000  # values of a tag that are read here


@dataclasses.dataclass(frozen=True)
class Layout:
    """order: "<" or ">"; big: BigTIFF, with 64-bit places; first: place of the first directory."""

    order: str
    big: bool
    first: int

    @property
    def entry(self) -> int:
        """Bytes of an entry."""
        return 20 if self.big else 12


@dataclasses.dataclass(frozen=True)
class Entry:
    """at: of its own bytes; place: of its value's first; whole: whether the value lies within the file."""

    tag: int
    type: int
    count: int
    at: int
    place: int
    whole: bool


@dataclasses.dataclass(frozen=True)
class Directory:
    """place, length: bytes that it takes in the file; next: place of the one that follows, 0 for none.

    whole: whether all of its entries, and of their values, lie within the file.
    """

    place: int
    length: int
    entries: tuple[Entry, ...]
    next: int
    whole: bool


def layout(data: bytes) -> Layout:
    """Errors: Broken where these bytes do not begin as a TIFF does."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        raise Broken("it does not begin as a TIFF does")
    big = 43 in data[2:4]
    if big and len(data) < 16:
        raise Broken("it ends within its header")
    first = struct.unpack_from(order + "Q", data, 8) if big else struct.unpack_from(order + "I", data, 4)
    return Layout(order, big, first[0])


def read(data: bytes, of: Layout, place: int) -> Directory:
    """The directory that begins at `place`, as far as it lies within the file. Errors: Broken where none of it does."""
    head = 8 if of.big else 2
    if place < 8 or place + head > len(data):
        raise Broken("its directory lies outside the file")
    (count,) = struct.unpack_from(of.order + ("Q" if of.big else "H"), data, place)
    start = place + head
    there = min(count, (len(data) - start) // of.entry)
    entries = tuple(_entry(data, of, start + n * of.entry) for n in range(there))
    end = start + there * of.entry
    width = 8 if of.big else 4
    has_next = there == count and end + width <= len(data)
    (after,) = struct.unpack_from(of.order + ("Q" if of.big else "I"), data, end) if has_next else (0,)
    length = end + width * has_next - place
    return Directory(place, length, entries, after, there == count and all(e.whole for e in entries))


def _entry(data: bytes, of: Layout, at: int) -> Entry:
    tag, kind, count = struct.unpack_from(of.order + ("HHQ" if of.big else "HHI"), data, at)
    size, inline = BYTES.get(kind, 0) * count, 8 if of.big else 4
    place = at + of.entry - inline
    if size > inline:
        (place,) = struct.unpack_from(of.order + ("Q" if of.big else "I"), data, place)
    return Entry(tag, kind, count, at, place, place + size <= len(data))


def numbers(data: bytes, of: Layout, entry: Entry, most: int = MOST) -> tuple[int, ...]:
    """The values of a tag of whole numbers, the first `most`; nothing where it holds something else."""
    letter = UNSIGNED.get(entry.type)
    if letter is None or not entry.whole:
        return ()
    return struct.unpack_from(f"{of.order}{min(entry.count, most)}{letter}", data, entry.place)


def chain(data: bytes, of: Layout, sub: int, most: int = 50) -> Iterator[Directory]:
    """All directories, each followed by those that its tag `sub` names; at most so many, those that can be read."""
    waiting, seen = [of.first], set()
    while waiting and len(seen) < most:
        place = waiting.pop(0)
        if place in seen:
            continue
        seen.add(place)
        try:
            found = read(data, of, place)
        except Broken:
            continue
        yield found
        below = [n for entry in found.entries if entry.tag == sub for n in numbers(data, of, entry)]
        waiting += [*below, *([found.next] if found.next else [])]
