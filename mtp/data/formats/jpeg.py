"""JPEG, decoded strictly: libjpeg goes on after damage and only warns of it; here the first such warning refuses.

What it warns of and does no harm to pixels (what lies beside them, zeros before the end, no mark at the end) is taken
away, and the rest is decoded strictly once more.
"""

import io

import numpy as np
import simplejpeg
from PIL import Image, JpegImagePlugin

from mtp.data.formats import exif, jpeg_header, jpeg_scans
from mtp.data.formats.jpeg_header import Frame, Part
from mtp.data.formats.stored import Broken, Stored

APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
XMP = b"http://ns.adobe.com/xap/1.0/\0"
# how simplejpeg says that a file may be whole and it cannot decode it
LIMITS = ("Unsupported", "Could not determine")
PADDING = 3  # zeros before the end mark that may still be coded data


def read(data: bytes) -> Stored:
    """Errors: Broken where the header is not whole, or the file too short for its pixels; Unsupported."""
    parts, start = jpeg_header.header(data)
    frame = jpeg_header.frame(parts)
    if 8 * len(data) < frame.least:
        raise Broken(f"{len(data)} bytes cannot hold {frame.width}x{frame.height} pixels")
    blocks = [p.content for p in parts if p.marker == APP1]
    block = b"".join(b.removeprefix(exif.PREFIX) for b in blocks if b.startswith(exif.PREFIX))
    texts = [b.removeprefix(XMP) for b in blocks if b.startswith(XMP)]
    orientation, whole = exif.read(block, texts[-1] if texts else None)
    return Stored(
        format="JPEG",
        height=frame.height,
        width=frame.width,
        mode={1: "L", 3: "RGB", 4: "CMYK"}[len(frame.components)],
        orientation=orientation,
        exif_whole=whole,
        load=lambda side: _decoded(data, parts, start, frame, side),
    )


def _decoded(data: bytes, parts: list[Part], start: int, frame: Frame, side: int) -> Image.Image | np.ndarray:
    """Errors: Broken, Unsupported."""
    jpeg_scans.check(data, parts, start, frame)
    try:
        pixels = _strict(data, frame, side)
    except ValueError as error:
        if any(limit in str(error) for limit in LIMITS):
            return _by_pillow(_clean(data, parts, start, 0), side)
        pixels = _once_more(data, parts, start, frame, side, str(error))
    # of four channels Pillow knows what the numbers mean
    return pixels if len(frame.components) < 4 else _by_pillow(_clean(data, parts, start, 0), side)


def _strict(data: bytes, frame: Frame, side: int) -> np.ndarray:
    """Called with a side, at a half, a fourth or an eighth where that is enough. Errors: ValueError at a warning."""
    colours = "CMYK" if len(frame.components) == 4 else "RGB"
    # of fifths and the like copies of other sizes would look less alike
    part = next((n for n in (8, 4, 2) if side and min(frame.height, frame.width) >= n * side), 1)
    least = {"min_height": -(-frame.height // part), "min_width": -(-frame.width // part)} if part > 1 else {}
    return simplejpeg.decode_jpeg(data, colours, strict=True, **least)


def _once_more(data: bytes, parts: list[Part], start: int, frame: Frame, side: int, first: str) -> np.ndarray:
    """Without what does no harm; first: what was said of the file as it is."""
    for zeros in range(PADDING + 1):
        try:
            return _strict(_clean(data, parts, start, zeros), frame, side)
        except ValueError:
            continue
    raise Broken(first)


def _by_pillow(clean: bytes, side: int) -> Image.Image:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(clean))
    if side:
        image.draft(None, (side, side))
    image.load()
    return image


def _clean(data: bytes, parts: list[Part], start: int, zeros: int) -> bytes:
    """What pixels are made of, with an end mark; of the zeros before it at most so many."""
    end = max((place for place, _ in jpeg_scans.scans(data, start)), default=len(data))
    coded = data[start:end].rstrip(b"\0")
    zeros += coded.endswith(b"\xff")  # a stuffed byte is no padding
    coded = data[start : min(end, start + len(coded) + zeros)]
    kept = [_known_revision(p) for p in parts if p.marker < APP0 or p.marker == APP14 or _is_jfif(p)]
    return b"\xff\xd8" + b"".join(kept) + coded + b"\xff\xd9"


def _is_jfif(part: Part) -> bool:
    return part.marker == APP0 and part.content.startswith(b"JFIF\0")


def _known_revision(part: Part) -> bytes:
    """JFIF as revision 1, since another one is warned of."""
    return part.whole[:9] + b"\1" + part.whole[10:] if _is_jfif(part) else part.whole
