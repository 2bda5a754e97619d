"""The one strict decoder and the one resizer: a file's bytes to upright RGB pixels, or an error that names it."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mtp.data.schema import DataError

ORIENTATION = 0x0112  # EXIF tag
TURNED = (5, 6, 7, 8)  # its values that swap height and width


class ImageError(DataError):
    """A picture cannot be used; the message names the file, what is wrong and the mend."""


def _open(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """The picture's header, checked; nothing is decoded yet."""
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes); fetch it again")
    try:
        # our own limit, below, knows the name and the option
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error}; make it smaller, or leave it out") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: {_not_a_picture(data)}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(name, error) from error
    if image.width * image.height > max_pixels:
        raise ImageError(
            f"{name}: {image.width}x{image.height} pixels are more than data.max_decode_pixels = {max_pixels}; "
            "make it smaller, or raise the limit"
        )
    return image


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name}: the file is damaged or cut short ({error}); fetch it again")


def _not_a_picture(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "this is a web page, not a picture (a dead download link answers so); fetch it again"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "this is HEIC, which is not supported; convert it to JPEG or PNG"
    return "this is not a picture in a known format (JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF); replace it or leave it out"


def upright_size(data: bytes, name: str, max_pixels: int) -> tuple[int, int]:
    """(height, width) in pixels after EXIF orientation, from the header alone.

    Errors: ImageError where the header shows something that `decode` would refuse.
    """
    image = _open(data, name, max_pixels)
    turned = image.getexif().get(ORIENTATION) in TURNED
    return (image.width, image.height) if turned else (image.height, image.width)


def decode(data: bytes, name: str, max_pixels: int) -> np.ndarray:
    """Upright RGB pixels, uint8 (H, W, 3).

    EXIF orientation is applied, transparency laid on white, 16-bit grey scaled to 8 bits, the first frame of
    an animation taken. Errors: ImageError on anything that is not a whole picture.
    """
    image = _open(data, name, max_pixels)
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(name, error) from error
    return np.asarray(_rgb(ImageOps.exif_transpose(image)))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit grey at 255
        grey = np.clip(np.asarray(image, np.float64) / 257.0, 0, 255).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(page, layer).convert("RGB")
    return image.convert("RGB")


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic with antialiasing (Pillow), uint8 (H, W, 3) -> (height, width, 3)."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
