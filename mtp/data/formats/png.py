"""PNG: the chunks that make the pixels, checked by Pillow; what lies beside them cannot spoil them.

Pillow calls a file broken whose text or profile is too large, or has a wrong check sum: it does not see them here.
"""

import io
import re
import zlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from mtp.data.formats import exif
from mtp.data.formats.depth import eight_bits
from mtp.data.formats.stored import Broken, Stored, Unsupported

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP = b"XML:com.adobe.xmp\0"
PROFILE = re.compile(rb"\s*exif\s+\d+\s+([0-9a-fA-F\s]+)")  # ImageMagick's, in hexadecimal
TEXT = 1 << 20  # bytes of a packed text that are unpacked
MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}


def read(data: bytes) -> Stored:
    """Errors: Broken where the header is not whole; Unsupported."""
    chunks = list(_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise Broken("it ends within its header")
    if not chunks[0][2]:
        raise Broken("the check sum of its header does not hold")
    header = chunks[0][1]
    width, height, depth, colour = (
        int.from_bytes(header[:4]),
        int.from_bytes(header[4:8]),
        header[8],
        header[9],
    )
    if not width or not height or colour not in MODES:
        raise Broken("its header has no size")
    # the first of a kind counts, as for Pillow
    beside = {name: content for name, content, whole in reversed(chunks) if whole}
    block, xmp = beside.get(b"eXIf"), None
    for name, content, whole in chunks:
        if whole and name in (b"iTXt", b"tEXt", b"zTXt"):
            keyword, text = _text(name, content)
            if keyword == b"XML:com.adobe.xmp":
                xmp = text
            elif keyword == b"Raw profile type exif" and block is None:
                block = _profile(text)
    orientation, exif_whole = exif.read(block, xmp)
    key = beside.get(b"tRNS", b"")
    if (depth, colour) == (16, 2) and key:
        raise Unsupported(
            "this is a PNG of 16 bits with one transparent colour; export it with 8 bits a channel"
        )
    clear = int.from_bytes(key) if colour == 0 and len(key) == 2 else None
    animation = beside.get(b"acTL", b"")
    return Stored(
        format="PNG",
        height=height,
        width=width,
        mode="I;16" if (depth, colour) == (16, 0) else "1" if (depth, colour) == (1, 0) else MODES[colour],
        orientation=orientation,
        exif_whole=exif_whole,
        deep=depth == 16,
        transparent=colour in (4, 6) or b"tRNS" in beside,
        animated=lambda: len(animation) == 8 and int.from_bytes(animation[:4]) > 1,
        load=lambda _: _loaded(data, depth, clear),
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Name, content and whether the check sum holds (of chunks that pixels do not need), as far as they go."""
    for start, end in _places(data):
        name = data[start + 4 : start + 8]
        content = b"" if name == b"IDAT" else data[start + 8 : end - 4]
        yield name, content, name == b"IDAT" or _holds(data, start, end)


def _places(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each whole chunk begins and ends."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if end > len(data):
            return
        yield at, end
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end


def _holds(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])


def _text(name: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Keyword and text, unpacked where it is packed; nothing where it cannot be."""
    keyword, _, rest = content.partition(b"\0")
    packed = name == b"zTXt"
    if name == b"iTXt":
        packed, rest = rest[:1] == b"\1", b"".join(rest[2:].split(b"\0", 2)[2:])
    elif packed:
        rest = rest[1:]
    if not packed:
        return keyword, rest
    try:
        return keyword, zlib.decompressobj().decompress(rest, TEXT)
    except zlib.error:
        return keyword, b""


def _profile(text: bytes) -> bytes | None:
    match = PROFILE.match(text)
    digits = b"".join(match[1].split()) if match else b""
    return bytes.fromhex(digits.decode()) if digits and len(digits) % 2 == 0 else None


def _loaded(data: bytes, depth: int, clear: int | None) -> Image.Image:
    """clear: the grey that is transparent."""
    end = len(SIGNATURE)
    kept = [SIGNATURE]
    for start, end in _places(data):
        # a small first letter: chunks that a reader may pass over
        if not data[start + 4] & 0x20 or data[start + 4 : start + 8] == b"tRNS":
            kept.append(data[start:end])
    # the remainder of a file that was cut short stays, for Pillow to find it
    image = PngImagePlugin.PngImageFile(io.BytesIO(b"".join([*kept, data[end:]])))
    image.load()
    if image.mode.startswith("I"):
        return eight_bits(image, 0xFFFF, clear=clear)
    if image.mode == "L" and clear is not None:
        # Pillow compares it with grey that it has scaled already
        image.info["transparency"] = clear * 255 // ((1 << depth) - 1)
    return image
