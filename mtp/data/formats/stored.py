"""What a picture file holds, before its pixels are read; what keeps a file from being read."""

import dataclasses
import io
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image


class Broken(ValueError):
    """The file is damaged or cut short; the message says where."""


class Unsupported(ValueError):
    """A whole file of a kind that cannot be read; the message is "what it is; what to do"."""


class Raw(ValueError):
    """A camera's RAW file; the message says of which camera or format."""


# what Pillow's readers, and those beside this file, raise on damaged files of the formats they know
BROKEN = (OSError, SyntaxError, ValueError, RuntimeError, IndexError, EOFError, struct.error)


def decodes(reader: Callable[[io.BytesIO], Image.Image], data: bytes) -> bool:
    """Whether one of Pillow's readers comes to the end of the picture in these bytes."""
    try:
        reader(io.BytesIO(data)).load()
    except BROKEN:
        return False
    return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """A picture as its header describes it.

    height, width: pixels as they are stored, before `orientation`, which is EXIF's (1 where there is none).
    mode: Pillow's. deep: more than 8 bits a channel. animated: looks for a second frame.
    exif_whole: whether what the file says of itself beside the pixels could be read.
    load: stored pixels, upright or not, as a picture in any mode of Pillow or as RGB, uint8 (H, W, 3); called with a
    side, a JPEG is decoded at a fraction of its size, no smaller than that. Errors of `load`: Unsupported, `BROKEN`.
    """

    format: str
    height: int
    width: int
    mode: str
    orientation: int = 1
    exif_whole: bool = True
    deep: bool = False
    transparent: bool = False
    animated: Callable[[], bool] = lambda: False
    load: Callable[[int], Image.Image | np.ndarray]
