"""GIF, BMP and AVIF, which Pillow's readers know by themselves."""

import io
import re
from collections.abc import Callable

from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, Image, ImageFile

from mtp.data.formats import exif
from mtp.data.formats.stored import BROKEN, Stored

# AVIF: an item of EXIF in the list of items, whose orientation does not count beside the file's own
EXIF_ITEM = re.compile(rb"(infe[\2\3].{3}(?:.{2}|.{4}).{2})Exif", re.DOTALL)


def read_gif(data: bytes) -> Stored:
    def animated() -> bool:
        try:
            return GifImagePlugin.GifImageFile(io.BytesIO(data)).is_animated
        except BROKEN:
            # only the first frame counts, and that is whole
            return False

    return _stored(GifImagePlugin.GifImageFile(io.BytesIO(data)), animated=animated)


def read_bmp(data: bytes) -> Stored:
    return _stored(BmpImagePlugin.BmpImageFile(io.BytesIO(data)))


def read_avif(data: bytes) -> Stored:
    """A turn of the file's own, which Pillow gives as EXIF's; where there is none, XMP's."""
    image = AvifImagePlugin.AvifImageFile(io.BytesIO(EXIF_ITEM.sub(rb"\1free", data)))
    orientation, _ = exif.read(image.info.get("exif"), image.info.get("xmp"))
    return _stored(image, orientation, lambda: getattr(image, "n_frames", 1) > 1)


def _stored(
    image: ImageFile.ImageFile, orientation: int = 1, animated: Callable[[], bool] = lambda: False
) -> Stored:
    return Stored(
        format=image.format or "",
        height=image.height,
        width=image.width,
        mode=image.mode,
        orientation=orientation,
        transparent=image.has_transparency_data,
        animated=animated,
        load=lambda _: _loaded(image),
    )


def _loaded(image: ImageFile.ImageFile) -> Image.Image:
    image.load()
    return image


def is_avif(data: bytes) -> bool:
    """Whether a file of boxes says that AVIF is among what it is: the first brand, or one of the others."""
    brands = data[8 : min(int.from_bytes(data[:4]), 256)]
    return b"avif" in (brands[at : at + 4] for at in range(0, len(brands), 4)) or brands[:4] == b"avis"
