"""AVIF: as WebP, no check sum guards it, and a whole file needs the last bytes of its coded picture (see `webp`).

Looked at is the coded picture itself where it is one item: not its transparency, of a picture in tiles the last one.
"""

import io
import re
from collections.abc import Iterator

from PIL import AvifImagePlugin, Image

from mtp.data.formats import exif
from mtp.data.formats.stored import Broken, Stored, decodes

# an item of EXIF in the list of items: its orientation does not count beside the file's own
EXIF_ITEM = re.compile(rb"(infe[\2\3].{3}(?:.{2}|.{4}).{2})Exif", re.DOTALL)
SPARE = 16  # bytes at the end that an encoder may have added
FRAME, TILES = 6, 4  # parts of AV1 that hold coded tiles
PADDING = b"\x7a"  # the header of a part that decoders pass over, with a length behind it


def is_avif(data: bytes) -> bool:
    """Whether a file of boxes says that AVIF is among what it is: the first brand, or one of the others."""
    brands = data[8 : min(int.from_bytes(data[:4]), 256)]
    return b"avif" in (brands[at : at + 4] for at in range(0, len(brands), 4)) or brands[:4] == b"avis"


def read(data: bytes) -> Stored:
    """A turn of the file's own, which Pillow gives as EXIF's; where there is none, XMP's."""
    data = EXIF_ITEM.sub(rb"\1free", data)
    image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
    orientation, _ = exif.read(image.info.get("exif"), image.info.get("xmp"))
    return Stored(
        format="AVIF",
        height=image.height,
        width=image.width,
        mode=image.mode,
        orientation=orientation,
        transparent=image.has_transparency_data,
        animated=lambda: image.is_animated,
        load=lambda _: _loaded(image, data),
    )


def _loaded(image: AvifImagePlugin.AvifImageFile, data: bytes) -> Image.Image:
    image.load()
    # of an animation the frames lie elsewhere
    shorter = None if image.is_animated else _shortened(data)
    if shorter is not None and decodes(AvifImagePlugin.AvifImageFile, shorter):
        raise Broken("its coded data does not end with its pixels")
    return image


def _shortened(data: bytes) -> bytes | None:
    """The file whose coded picture has padding for its last bytes; None where it is not of the common form."""
    try:
        found = _coded(data)
        parts = list(_parts(data, *found)) if found else []
    except IndexError:
        return None
    if not parts or parts[-1][0] not in (FRAME, TILES):
        return None
    _, length_at, content, end = parts[-1]
    size = end - content - SPARE
    if size <= 2 * SPARE:
        return None
    length = bytes(
        (size >> 7 * n & 0x7F) | 0x80 * (n < content - length_at - 1) for n in range(content - length_at)
    )
    # its own length byte, zeros, and the bit that ends it
    padding = PADDING + bytes([SPARE - 2]) + bytes(SPARE - 3) + b"\x80"
    return data[:length_at] + length + data[content : content + size] + padding + data[end:]


def _parts(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """AV1's parts (OBU): kind, where their length, their content and what follows begins. None without a length."""
    at = start
    while at < end:
        header = data[at]
        if not header & 2:
            return
        length_at = at + 1 + (header >> 2 & 1)
        content, size, shift = length_at, 0, 0
        while True:
            byte = data[content]
            size |= (byte & 0x7F) << shift
            content, shift = content + 1, shift + 7
            if not byte & 0x80:
                break
        yield header >> 3 & 15, length_at, content, content + size
        at = content + size


def _coded(data: bytes) -> tuple[int, int] | None:
    """Where the coded bytes of the first-named picture begin and end; None unless it is one item in one piece."""
    meta = _box(data, 0, len(data), b"meta")
    if meta is None:
        return None
    inside = meta[0] + 4, meta[1]
    named, places = _box(data, *inside, b"pitm"), _box(data, *inside, b"iloc")
    if named is None or places is None:
        return None
    wide = 4 if data[named[0]] else 2
    key = int.from_bytes(data[named[0] + 4 : named[0] + 4 + wide])
    return _place(data, places[0], key)


def _box(data: bytes, start: int, end: int, name: bytes) -> tuple[int, int] | None:
    """Where the first box of this name has its content."""
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4])
        size = size if size >= 8 else end - start
        if data[start + 4 : start + 8] == name:
            return start + 8, min(start + size, end)
        start += size
    return None


def _place(data: bytes, at: int, wanted: int) -> tuple[int, int] | None:
    """From the list of places (iloc, ISO/IEC 14496-12, 8.11.3)."""
    version, sizes = data[at], data[at + 4 : at + 6]
    offset, length, base = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
    index = sizes[1] & 15 if version else 0
    wide = 4 if version == 2 else 2
    at += 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at])

    for _ in range(number(wide)):
        key = number(wide)
        method = number(2) & 15 if version else 0
        number(2)  # which file
        first, pieces = number(base), number(2)
        extents = [(number(index), number(offset), number(length)) for _ in range(pieces)]
        if key == wanted:
            _, start, size = extents[0]
            one = pieces == 1 and method == 0 and 0 < first + start + size <= len(data)
            return (first + start, first + start + size) if one else None
    return None
