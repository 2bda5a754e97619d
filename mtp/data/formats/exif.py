"""How a picture is to be turned: the orientation of EXIF, and where EXIF says none, of XMP.

Pillow reads every tag, and warns of each broken one in its own words; the orientation is the only one that counts.
"""

import re
from typing import NamedTuple

from mtp.data.formats import directory
from mtp.data.formats.stored import Broken

TAG = 0x0112
PREFIX = b"Exif\0\0"
XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


class Turn(NamedTuple):
    """orientation: of EXIF, 1..8, or 1 where there is none; whole: whether EXIF's block could be read to its end."""

    orientation: int
    whole: bool


def read(block: bytes | None, xmp: bytes | None) -> Turn:
    """block: of EXIF, with or without its prefix; None where the file has none."""
    found, whole = _of_block(block) if block else (None, True)
    if found is None:
        match = XMP.search(xmp or b"")
        found = int(match[1]) if match else 1
    return Turn(found if 1 <= found <= 8 else 1, whole)


def _of_block(block: bytes) -> tuple[int | None, bool]:
    while block.startswith(PREFIX):
        block = block[len(PREFIX) :]
    try:
        of = directory.layout(block)
        found = directory.read(block, of, of.first)
    except Broken:
        return None, False
    entries = [entry for entry in found.entries if entry.tag == TAG]
    # a number that is written as text is none
    values = [value for entry in entries for value in directory.numbers(block, of, entry)[:1]]
    return (values[0] if values else 0 if entries else None), found.whole
