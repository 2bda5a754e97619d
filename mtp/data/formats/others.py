"""GIF and BMP, which Pillow's readers know by themselves; neither has an orientation."""

import io
from collections.abc import Callable

from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile

from mtp.data.formats.stored import BROKEN, Stored


def read_gif(data: bytes) -> Stored:
    def animated() -> bool:
        try:
            return GifImagePlugin.GifImageFile(io.BytesIO(data)).is_animated
        except BROKEN:
            # only the first frame counts, and that is whole
            return False

    return _stored(GifImagePlugin.GifImageFile(io.BytesIO(data)), animated)


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
