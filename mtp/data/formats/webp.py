"""WebP: no check sum guards it, so a file counts as whole where its coded data is needed to its last bytes.

Damage inside puts the decoder out of step. It then either runs past the end, which libwebp tells, or is done too early,
which it does not: decoded without its last bytes, a whole picture fails, and one that was damaged may not.
"""

import io
import struct
from collections.abc import Iterator, Sequence

from PIL import Image, WebPImagePlugin

from mtp.data.formats import exif, vp8
from mtp.data.formats.stored import Broken, Stored, decodes

CODED = (b"VP8 ", b"VP8L")
SPARE = 8  # bytes at the end that an encoder may have added
PACKED = 1  # compression of a transparency, in its lowest bits
Chunk = tuple[bytes, bytes]


def read(data: bytes) -> Stored:
    """Errors: Broken where its parts do not fit together or the file is cut short."""
    length = 8 + int.from_bytes(data[4:8], "little")
    if length > len(data):
        raise Broken(f"it has {len(data)} bytes of {length}")
    chunks = list(_chunks(data[12:length]))
    parts = dict(reversed(chunks))
    frames = [content for name, content in chunks if name == b"ANMF"]
    still = _still(list(_chunks(frames[0][16:])) if frames else chunks)
    width, height, alpha = _size(parts, still)
    orientation, whole = exif.read(parts.get(b"EXIF"), parts.get(b"XMP "))
    return Stored(
        format="WEBP",
        height=height,
        width=width,
        mode="RGBA" if alpha else "RGB",
        orientation=orientation,
        exif_whole=whole,
        transparent=alpha,
        animated=lambda: len(frames) > 1,
        load=lambda _: _loaded(data, still),
    )


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Errors: Broken where one reaches over the end."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            raise Broken(f"its part {data[at : at + 4]!r} reaches over the end")
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _still(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The coded picture, and its transparency before it. Errors: Broken where there is none."""
    found = [chunk for chunk in chunks if chunk[0] in (b"ALPH", *CODED)]
    place = next((n for n, chunk in enumerate(found) if chunk[0] in CODED), None)
    if place is None:
        raise Broken("it holds no coded picture")
    return found[: place + 1]


def _size(parts: dict[bytes, bytes], still: Sequence[Chunk]) -> tuple[int, int, bool]:
    """Width, height, and whether anything is transparent."""
    if len(head := parts.get(b"VP8X", b"")) >= 10:
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (4, 7))
        return width, height, bool(head[0] & 0x10)
    name, coded = still[-1]
    return (*_coded_size(name, coded), name == b"VP8L" and bool(coded[4] & 0x10))


def _coded_size(name: bytes, coded: bytes) -> tuple[int, int]:
    if len(coded) < 10:
        raise Broken("its picture ends within its header")
    if name == b"VP8L":
        bits = int.from_bytes(coded[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", coded, 6)
    return width & 0x3FFF, height & 0x3FFF


def _loaded(data: bytes, still: Sequence[Chunk]) -> Image.Image:
    image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    image.load()
    if any(decodes(WebPImagePlugin.WebPImageFile, shorter) for shorter in _shortened(still)):
        raise Broken("its coded data does not end with its pixels")
    return image


def _shortened(still: Sequence[Chunk]) -> Iterator[bytes]:
    """The picture without the last bytes of one part of its coded data, for each part that has some."""
    for place, (name, coded) in enumerate(still):
        if name == b"VP8 ":
            shorter = vp8.shortened(coded, SPARE)
        elif len(coded) > 2 * SPARE and (name == b"VP8L" or coded[0] & 3 == PACKED):
            shorter = [coded[:-SPARE]]
        else:
            shorter = []
        for content in shorter:
            yield _file([*still[:place], (name, content), *still[place + 1 :]])


def _file(chunks: Sequence[Chunk]) -> bytes:
    if len(chunks) > 1:
        width, height = _coded_size(*chunks[-1])
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks = [(b"VP8X", b"\x10\0\0\0" + sides), *chunks]
    body = b"".join(
        name + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)
        for name, content in chunks
    )
    return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WEBP" + body
