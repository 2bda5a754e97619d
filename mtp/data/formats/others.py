"""GIF and BMP, which Pillow's readers know by themselves; neither has an orientation."""

import io
import math
import struct
from collections.abc import Callable

from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile

from mtp.data.formats.stored import BROKEN, Stored


def read_gif(data: bytes) -> Stored:
    data = _quiet(data)

    def animated() -> bool:
        try:
            return GifImagePlugin.GifImageFile(io.BytesIO(data)).is_animated
        except BROKEN:
            # only the first frame counts, and that is whole
            return False

    return _stored(GifImagePlugin.GifImageFile(io.BytesIO(data)), animated)


def _quiet(data: bytes) -> bytes:
    """A GIF of whose first frame Pillow's own limit warns of nothing, which threads cannot turn off; ours is looked at.

    It says nothing of what becomes of the frame after its time. Errors: DecompressionBombError where the frame makes
    the canvas larger than that limit.
    """
    colours = data[10] if len(data) > 12 else 0
    at = 13 + (3 << (colours & 7) + 1 if colours & 0x80 else 0)
    while data[at : at + 1] == b"!":
        if data[at + 1 : at + 3] == b"\xf9\4":
            data = data[: at + 3] + bytes([data[at + 3] & ~0x1C]) + data[at + 4 :]
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    left, top, width, height = struct.unpack_from("<4H", data.ljust(at + 9, b"\0"), at + 1)
    if (left + width) * (top + height) > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError(f"its first frame reaches to {left + width}x{top + height} pixels")
    return data


def read_bmp(data: bytes) -> Stored:
    return _stored(BmpImagePlugin.BmpImageFile(io.BytesIO(data)), lambda: False)


def _stored(image: ImageFile.ImageFile, animated: Callable[[], bool]) -> Stored:
    return Stored(
        format=image.format or "",
        height=image.height,
        width=image.width,
        mode=image.mode,
        transparent=image.has_transparency_data,
        animated=animated,
        load=lambda _: _loaded(image),
    )


def _loaded(image: ImageFile.ImageFile) -> Image.Image:
    image.load()
    return image
