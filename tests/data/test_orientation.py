"""Header, decoding and inspection agree on which side is up, in every format and by every way of saying it."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from mtp.data.images import decode, header, inspect, upright_size

LIMIT = 10**6
HEIGHT, WIDTH = 200, 320
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # TIFF 6.0, tag 274: where row 0 and column 0 are
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}
VALUES = [*TURNS, 0, 9, 65535]


def picture() -> Image.Image:
    coarse = np.random.default_rng(3).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def xmp(orientation: int, attribute: bool = True) -> bytes:
    text = (
        f' tiff:Orientation="{orientation}"/>'
        if attribute
        else f"><tiff:Orientation>{orientation}</tiff:Orientation>"
    )
    return f"<x:xmpmeta><rdf:Description{text}</x:xmpmeta>".encode()


def saved(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(name: bytes, content: bytes, behind: bool = False) -> bytes:
    """With one more chunk, before the pixels or behind them."""
    data = saved("PNG")
    place = data.index(b"IEND") - 4 if behind else data.index(b"IDAT") - 4
    return data[:place] + chunk(name, content) + data[place:]


def png_profile(orientation: int) -> bytes:
    """As ImageMagick keeps EXIF in a PNG."""
    block = exif(orientation).tobytes()
    text = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    return png(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))


def tiff(orientation: int, compression: str | None) -> bytes:
    """libtiff writes values that there are; others are put in their place."""
    data = saved("TIFF", compression=compression, tiffinfo={274: 6})
    entry = struct.pack("<HHI", 274, 3, 1)
    assert data.count(entry) == 1
    return data.replace(entry + struct.pack("<H", 6), entry + struct.pack("<H", orientation))


def mpo(orientation: int) -> bytes:
    buffer = io.BytesIO()
    picture().save(
        buffer,
        "MPO",
        save_all=True,
        append_images=[Image.new("RGB", (64, 40))],
        exif=exif(orientation).tobytes(),
    )
    return buffer.getvalue()


FILES: dict[str, Callable[[int], bytes]] = {
    "JPEG": lambda o: saved("JPEG", exif=exif(o)),
    "JPEG, progressive": lambda o: saved("JPEG", exif=exif(o), progressive=True),
    "MPO": mpo,
    "PNG": lambda o: saved("PNG", exif=exif(o)),
    "PNG, EXIF behind the pixels": lambda o: png(
        b"eXIf", exif(o).tobytes().removeprefix(b"Exif\0\0"), behind=True
    ),
    "PNG, EXIF as text": png_profile,
    "WebP": lambda o: saved("WEBP", exif=exif(o)),
    "WebP, lossless": lambda o: saved("WEBP", exif=exif(o), lossless=True),
    "AVIF": lambda o: saved("AVIF", exif=exif(o)),
    "TIFF": lambda o: tiff(o, None),
    "TIFF, deflate": lambda o: tiff(o, "tiff_adobe_deflate"),
    "TIFF, LZW": lambda o: tiff(o, "tiff_lzw"),
    "TIFF, JPEG": lambda o: tiff(o, "jpeg"),
    "BigTIFF": lambda o: saved("TIFF", big_tiff=True, tiffinfo={274: o}),
}
BY_XMP: dict[str, Callable[[int], bytes]] = {
    "JPEG": lambda o: saved("JPEG", xmp=xmp(o)),
    "PNG": lambda o: png(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(o, attribute=False)),
    "PNG, packed": lambda o: png(
        b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(o)), behind=True
    ),
    "WebP": lambda o: saved("WEBP", xmp=xmp(o)),
    "AVIF": lambda o: saved("AVIF", xmp=xmp(o)),
    "TIFF": lambda o: saved("TIFF", tiffinfo={700: xmp(o)}),
}


def agree(data: bytes, plain: bytes, orientation: int) -> None:
    """plain: the same file that says nothing."""
    turn = TURNS.get(orientation, TURNS[1])
    wanted = turn(decode(plain, "plain", LIMIT))
    pixels, found = decode(data, "a", LIMIT), inspect(data, "a", LIMIT)
    np.testing.assert_array_equal(pixels, wanted)
    assert upright_size(data, "a", LIMIT) == pixels.shape[:2] == (found.height, found.width)
    assert header(data, "a", LIMIT).exif_whole and found.exif_whole
    small = np.asarray(found.small.resize((8, 8), Image.Resampling.BOX), float)
    np.testing.assert_allclose(
        small, np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX)), atol=8
    )


@pytest.mark.parametrize("orientation", VALUES)
@pytest.mark.parametrize("kind", FILES)
def test_orientation_of_exif(kind, orientation):
    if kind == "AVIF" and orientation not in TURNS:
        pytest.skip("an AVIF is turned by a property of its own, which has no other values")
    agree(FILES[kind](orientation), FILES[kind](1), orientation)


@pytest.mark.parametrize("orientation", [*TURNS, 0, 9])
@pytest.mark.parametrize("kind", BY_XMP)
def test_orientation_of_xmp_where_exif_says_none(kind, orientation):
    agree(BY_XMP[kind](orientation), BY_XMP[kind](1), orientation)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_exif_counts_before_xmp(kind):
    agree(saved(kind, exif=exif(6), xmp=xmp(3)), saved(kind), 6)


def test_the_pixels_of_a_tiff_are_those_of_pillow_upright():
    """Pillow applies a TIFF's orientation itself."""
    for orientation in TURNS:
        data = tiff(orientation, None)
        np.testing.assert_array_equal(decode(data, "a", LIMIT), np.asarray(Image.open(io.BytesIO(data))))


BROKEN = {
    "no TIFF inside": b"Exif\0\0abcdefgh" * 3,
    "ends in its directory": b"Exif\0\0" + exif(6).tobytes().removeprefix(b"Exif\0\0")[:10],
    "a value outside": b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 1, 0x010F, 2, 500, 9000) + bytes(4),
}


@pytest.mark.parametrize("block", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_exif_block_is_told_and_left_aside(kind, block, recwarn):
    data = png(b"eXIf", block.removeprefix(b"Exif\0\0")) if kind == "PNG" else saved(kind, exif=block)
    np.testing.assert_array_equal(decode(data, "a", LIMIT), decode(saved(kind), "a", LIMIT))
    assert not header(data, "a", LIMIT).exif_whole and not inspect(data, "a", LIMIT).exif_whole
    assert not recwarn.list
