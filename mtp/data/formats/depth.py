"""Grey of more than 8 bits, scaled to 8."""

import numpy as np
from PIL import Image


def eight_bits(
    image: Image.Image, white: int, inverted: bool = False, clear: int | None = None
) -> Image.Image:
    """Grey of 16-bit numbers, 0..white, as 0..255, rounded.

    inverted: 0 is white. clear: a number that is transparent, and so becomes white.
    """
    table = np.rint(np.arange(1 << 16) * (255 / white)).clip(0, 255).astype(np.uint8)
    if inverted:
        table = 255 - table
    if clear is not None:
        table[clear] = 255
    # by way of a table: numbers of 8 bytes would take as much memory as ten pictures
    return Image.fromarray(table[np.asarray(image)])
