"""The one strict decoder and the one resizer: a file's bytes to upright RGB pixels, or an error that names it."""

import dataclasses
import io
import struct
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from mtp.data.errors import DataError

ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {  # its values, and how the stored pixels become upright
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
TURNED = (5, 6, 7, 8)  # those that swap height and width
# what Pillow's readers raise on damaged files of the formats they know
BROKEN = (OSError, SyntaxError, ValueError, RuntimeError, IndexError, struct.error)
INSPECTED = 60  # pixels; a 640x480 JPEG is then decoded at an eighth of its size


class ImageError(DataError):
    """A picture cannot be used; the message is "name: what is wrong; fix"."""


class EmptyFile(ImageError):
    """The file has no bytes."""


class WebPage(ImageError):
    """HTML or XML where a picture should be."""


class UnknownFormat(ImageError):
    """No picture that can be read."""


class Damaged(ImageError):
    """A picture that cannot be decoded to its end."""


class TooLarge(ImageError):
    """More pixels than data.max_decode_pixels."""


def _open(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """The picture's header, checked; nothing is decoded yet."""
    if not data:
        raise EmptyFile(f"{name}: the file is empty (0 bytes); fetch it again")
    try:
        # our own limit, below, knows the name and the option
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{name}: {error}; make it smaller, or leave it out") from error
    except UnidentifiedImageError as error:
        raise _not_a_picture(data, name) from error
    except BROKEN as error:
        raise _damaged(name, error) from error
    if image.width * image.height > max_pixels:
        raise TooLarge(
            f"{name}: {image.width}x{image.height} pixels are more than data.max_decode_pixels = {max_pixels}; "
            "make it smaller, or raise the limit"
        )
    return image


def _damaged(name: str, error: Exception) -> Damaged:
    return Damaged(f"{name}: the file is damaged or cut short ({error}); fetch it again")


def _not_a_picture(data: bytes, name: str) -> ImageError:
    if data.startswith((b"\xff\xd8", b"\x89PNG")):
        return Damaged(f"{name}: the file ends within its header; fetch it again")
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return WebPage(
            f"{name}: this is a web page, not a picture (a dead download link answers so); fetch it again"
        )
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return UnknownFormat(f"{name}: this is HEIC, which is not supported; convert it to JPEG or PNG")
    return UnknownFormat(
        f"{name}: this is not a picture in a known format (JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF); replace it or "
        "leave it out"
    )


def upright_size(data: bytes, name: str, max_pixels: int) -> tuple[int, int]:
    """(height, width) in pixels after EXIF orientation, from the header alone.

    Errors: ImageError where the header shows something that `decode` would refuse.
    """
    return _upright(_open(data, name, max_pixels), name)


def _upright(image: Image.Image, name: str) -> tuple[int, int]:
    turned = _orientation(image, name) in TURNED
    return (image.width, image.height) if turned else (image.height, image.width)


def _orientation(image: Image.Image, name: str) -> int:
    """EXIF's, 1 where it says none; no other tag is looked at, for many cameras' are broken."""
    try:
        # a PNG may hold its EXIF behind the pixels, which are read then
        return image.getexif().get(ORIENTATION, 1)
    except BROKEN as error:
        raise _damaged(name, error) from error


def decode(data: bytes, name: str, max_pixels: int) -> np.ndarray:
    """Upright RGB pixels, uint8 (H, W, 3).

    EXIF orientation is applied, transparency laid on white, 16-bit grey scaled to 8 bits, the first frame of
    an animation taken. Errors: ImageError on anything that is not a whole picture.
    """
    return np.asarray(_loaded(_open(data, name, max_pixels), name))


def _loaded(image: Image.Image, name: str) -> Image.Image:
    """The whole picture, upright, in RGB."""
    try:
        image.load()
    except BROKEN as error:
        raise _damaged(name, error) from error
    turn = UPRIGHT.get(_orientation(image, name))
    return _rgb(image if turn is None else image.transpose(turn))


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect` saw.

    height, width: pixels of the upright picture. mode: Pillow's, of the file. deep: more than 8 bits a channel.
    small: the upright picture in RGB; a JPEG at a reduced size, both sides still at least `INSPECTED` pixels.
    """

    height: int
    width: int
    format: str
    mode: str
    deep: bool
    transparent: bool
    animated: bool
    small: Image.Image


def inspect(data: bytes, name: str, max_pixels: int) -> Inspection:
    """Reads the file to its end as `decode` does, and refuses what `decode` refuses; a JPEG four times as fast.

    All of a JPEG's entropy-coded data is read, but only the low frequencies of each block are turned into pixels.
    Errors: ImageError.
    """
    image = _open(data, name, max_pixels)
    height, width = _upright(image, name)
    transparent, mode = image.has_transparency_data, image.mode
    deep = mode.startswith(("I", "F")) or (image.format == "PNG" and data[24] == 16)  # IHDR's bit depth
    image.draft(None, (INSPECTED, INSPECTED))
    small = _loaded(image, name)
    return Inspection(
        height=height,
        width=width,
        format="JPEG" if image.format == "MPO" else image.format or "",
        mode=mode,
        deep=deep,
        transparent=transparent,
        animated=_animated(image),
        small=small,
    )


def _animated(image: Image.Image) -> bool:
    try:
        # a telephone's JPEG with a preview has two frames
        return image.format != "MPO" and getattr(image, "is_animated", False)
    except BROKEN:
        # only the first frame counts, and that is whole
        return False


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
    """Bilinear with antialiasing, uint8 (H, W, 3) -> (height, width, 3).

    The triangle filter, as torchvision's default and jax.image.resize's "linear"; bicubic has twice the taps.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
