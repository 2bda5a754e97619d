"""Grey of more than 8 bits, scaled to 8."""

import numpy as np
from PIL import Image


def eight_bits(image: Image.Image, white: int, inverted: bool = False) -> Image.Image:
    """Grey of 16-bit numbers, 0..white, as 0..255, rounded; inverted: 0 is white."""
    table = np.rint(np.arange(1 << 16) * (255 / white)).clip(0, 255).astype(np.uint8)
    # by way of a table: numbers of 8 bytes would take as much memory as ten pictures
    return Image.fromarray((255 - table if inverted else table)[np.asarray(image)])
