"""The one strict decoder and the one resizer: a file's bytes to upright RGB pixels, or an error that names it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from PIL import Image

from mtp.data.budget import IN_FLIGHT, Hold
from mtp.data.errors import CameraRaw, Damaged, EmptyFile, ImageError, TooLarge, UnknownFormat, WebPage
from mtp.data.formats import avif, jpeg, others, png, raw, tiff, webp
from mtp.data.formats.stored import BROKEN, Raw, Stored, Unsupported
from mtp.names import shown

# EXIF's orientations: how the pixels (H, W) that are stored become upright
UPRIGHT: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1], 5: lambda p: p.T,
    6: lambda p: np.rot90(p, -1), 7: lambda p: p[::-1, ::-1].T, 8: np.rot90,
}  # fmt: skip
TURNED = (5, 6, 7, 8)  # those that swap height and width
INSPECTED = 60  # pixels; a 640x480 JPEG is then decoded at an eighth of its size
BAND = 1 << 22  # pixels of a picture that are converted at once

# the only formats that are opened, by their first bytes (and of some the ninth and further); nothing else is tried,
# and no program that lies about is started
TIFF_STARTS = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")
READERS: Mapping[tuple[bytes, ...], Callable[[bytes], Stored]] = {
    (b"\xff\xd8",): jpeg.read, (b"\x89PNG",): png.read, TIFF_STARTS: tiff.read, (b"GIF87a", b"GIF89a"): others.read_gif,
    (b"BM",): others.read_bmp,
}  # fmt: skip
KNOWN = "JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF"


@dataclasses.dataclass(frozen=True)
class Header:
    """height, width: pixels of the upright picture. exif_whole: False where its EXIF is damaged and was left aside."""

    height: int
    width: int
    exif_whole: bool


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect` saw.

    height, width: pixels of the upright picture. mode: Pillow's, of the file. deep: more than 8 bits a channel.
    small: the upright picture in RGB at a reduced size, both sides still at least `INSPECTED` pixels where they were.
    """

    height: int
    width: int
    format: str
    mode: str
    deep: bool
    transparent: bool
    animated: bool
    exif_whole: bool
    small: Image.Image


def header(data: bytes, name: str, max_pixels: int) -> Header:
    """What the header alone tells. Errors: ImageError where it shows something that `decode` would refuse."""
    stored = _open(data, name, max_pixels)
    return Header(*_upright(stored), stored.exif_whole)


def upright_size(data: bytes, name: str, max_pixels: int) -> tuple[int, int]:
    """(height, width) in pixels after EXIF orientation, from the header alone. Errors: as `header`."""
    found = header(data, name, max_pixels)
    return found.height, found.width


def decode(data: bytes, name: str, max_pixels: int) -> np.ndarray:
    """Upright RGB pixels, uint8 (H, W, 3).

    Orientation is applied (EXIF's, else XMP's), transparency laid on white, more than 8 bits scaled to 8, the first
    frame of an animation taken. Errors: ImageError on anything that is not a whole picture.
    """
    stored = _open(data, name, max_pixels)
    with IN_FLIGHT.hold(stored.height * stored.width):
        return _turned(_rgb(_loaded(stored, name, 0)), stored.orientation)


def inspect(data: bytes, name: str, max_pixels: int, hold: Hold = IN_FLIGHT.hold) -> Inspection:
    """Reads the file to its end as `decode` does, and refuses what `decode` refuses; a JPEG four times as fast.

    All of a JPEG's entropy-coded data is read, but only the low frequencies of each block are turned into pixels.
    hold: of the budget of pixels that this is to count in. Errors: ImageError.
    """
    stored = _open(data, name, max_pixels)
    height, width = _upright(stored)
    with hold(height * width):
        small = _reduced(_loaded(stored, name, INSPECTED))
    return Inspection(
        height=height,
        width=width,
        format=stored.format,
        mode=stored.mode,
        deep=stored.deep,
        transparent=stored.transparent,
        animated=stored.animated(),
        exif_whole=stored.exif_whole,
        small=Image.fromarray(_turned(small, stored.orientation)),
    )


def _open(data: bytes, name: str, max_pixels: int) -> Stored:
    """The picture's header, checked; nothing is decoded yet."""
    name = shown(name)
    if not data:
        raise EmptyFile(f"{name}: the file is empty (0 bytes); fetch it again")
    camera = raw.camera(data)
    if camera:
        raise _camera_raw(name, camera)
    read = _reader(data)
    if read is None:
        raise _not_a_picture(data, name)
    try:
        stored = read(data)
    except Raw as error:
        raise _camera_raw(name, str(error)) from error
    except Unsupported as error:
        raise UnknownFormat(f"{name}: {error}") from error
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{name}: {error}; make it smaller, or leave it out") from error
    except BROKEN as error:
        raise _damaged(name, error) from error
    if stored.width * stored.height > max_pixels:
        raise TooLarge(
            f"{name}: {stored.width}x{stored.height} pixels are more than data.max_decode_pixels = {max_pixels}; "
            "make it smaller, or raise the limit"
        )
    return stored


def _reader(data: bytes) -> Callable[[bytes], Stored] | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return webp.read
    if data[4:8] == b"ftyp" and avif.is_avif(data):
        return avif.read
    return next((read for starts, read in READERS.items() if data.startswith(starts)), None)


def _camera_raw(name: str, camera: str) -> CameraRaw:
    return CameraRaw(
        f"{name}: this is a camera's RAW file ({camera}), not a finished picture; export it as JPEG"
    )


def _damaged(name: str, error: Exception) -> Damaged:
    return Damaged(f"{name}: the file is damaged or cut short ({error}); fetch it again")


def _not_a_picture(data: bytes, name: str) -> ImageError:
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return WebPage(
            f"{name}: this is a web page, not a picture (a dead download link answers so); fetch it again"
        )
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return UnknownFormat(f"{name}: this is HEIC, which is not supported; convert it to JPEG or PNG")
    return UnknownFormat(
        f"{name}: this is not a picture in a known format ({KNOWN}); replace it or leave it out"
    )


def _upright(stored: Stored) -> tuple[int, int]:
    turned = stored.orientation in TURNED
    return (stored.width, stored.height) if turned else (stored.height, stored.width)


def _loaded(stored: Stored, name: str, side: int) -> Image.Image | np.ndarray:
    """The whole picture as it is stored; called with a side, a JPEG's at a fraction of its size."""
    name = shown(name)
    try:
        return stored.load(side)
    except Unsupported as error:
        raise UnknownFormat(f"{name}: {error}") from error
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{name}: {error}; make it smaller, or leave it out") from error
    except BROKEN as error:
        raise _damaged(name, error) from error


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Upright, (H, W, 3)."""
    if orientation not in UPRIGHT:
        return pixels
    # pixels of three bytes as one value each, which moves them three times as fast
    upright = np.ascontiguousarray(UPRIGHT[orientation](pixels.view("V3")[..., 0]))
    return upright.view(np.uint8).reshape(*upright.shape, 3)


def _rgb(picture: Image.Image | np.ndarray) -> np.ndarray:
    """(H, W, 3), on white where it is transparent."""
    if isinstance(picture, np.ndarray):
        return picture
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    for top, band in _bands(picture, 1):
        pixels[top : top + band.height] = np.asarray(band)
    return pixels


def _reduced(picture: Image.Image | np.ndarray) -> np.ndarray:
    """(h, w, 3), averaged over squares of pixels, both sides still at least `INSPECTED` where they were."""
    if isinstance(picture, np.ndarray):
        # a JPEG, decoded at its reduced size
        return picture
    square = max(1, min(picture.size) // INSPECTED)
    return np.concatenate([np.asarray(band.reduce(square)) for _, band in _bands(picture, square)])


def _bands(image: Image.Image, multiple: int) -> Iterator[tuple[int, Image.Image]]:
    """Some rows at a time, a multiple of so many, and their first: all in RGB at once would be there four times."""
    rows = max(1, BAND // (image.width * multiple)) * multiple
    for top in range(0, image.height, rows):
        yield top, _on_white(image.crop((0, top, image.width, min(top + rows, image.height))))


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    page = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(page, layer).convert("RGB")


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with antialiasing, uint8 (H, W, 3) -> (height, width, 3).

    The triangle filter, as torchvision's default and jax.image.resize's "linear"; bicubic has twice the taps.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
