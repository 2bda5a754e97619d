"""The one decoder: every kind of file that people have, and every broken one."""

import io
import os
import struct
import subprocess

import jax
import numpy as np
import pytest
from PIL import Image

from mtp.data.images import Damaged, ImageError, UnknownFormat, decode, inspect, resize, upright_size

LIMIT = 10**8
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(PIXELS).convert(mode)


def test_png_is_exact():
    np.testing.assert_array_equal(decode(encoded(picture()), "a.png", LIMIT), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_known_from_the_header(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), exif=exif)
    pixels = decode(data, "a.png", LIMIT)
    assert (
        pixels.shape[:2] == upright_size(data, "a.png", LIMIT) == ((60, 40) if orientation > 4 else (40, 60))
    )
    turned = {1: PIXELS, 3: PIXELS[::-1, ::-1], 6: np.rot90(PIXELS, -1), 8: np.rot90(PIXELS)}
    if orientation in turned:
        np.testing.assert_array_equal(pixels, turned[orientation])


def test_grey_has_three_equal_channels():
    pixels = decode(encoded(picture("L")), "a.png", LIMIT)
    assert pixels.shape == (40, 60, 3)
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


def test_transparency_is_laid_on_white():
    image = picture("RGBA")
    image.putalpha(Image.fromarray(np.full((40, 60), 0, np.uint8)))
    np.testing.assert_array_equal(decode(encoded(image), "a.png", LIMIT), 255)


def test_transparent_palette_is_laid_on_white():
    image = Image.new("P", (40, 40), 0)
    image.putpalette([200, 10, 10, 0, 0, 0])
    np.testing.assert_array_equal(decode(encoded(image, transparency=0), "a.png", LIMIT), 255)
    np.testing.assert_array_equal(decode(encoded(image), "a.png", LIMIT)[0, 0], [200, 10, 10])


def test_cmyk_becomes_rgb():
    pixels = decode(encoded(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"), "a.jpg", LIMIT)
    assert pixels[20, 20, 0] > 200 and pixels[20, 20, 1:].max() < 60


def test_16_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    pixels = decode(encoded(Image.fromarray(ramp)), "a.png", LIMIT)
    np.testing.assert_allclose(pixels[..., 0], ramp / 257, atol=0.51)


def test_first_frame_of_an_animation():
    first, second = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert decode(data, "a.gif", LIMIT)[5, 5, 0] > 200


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
def test_a_file_cut_short_is_an_error_that_names_it(kind):
    data = encoded(picture(), kind)
    with pytest.raises(ImageError, match=r"^dir/half\.x: "):
        decode(data[: len(data) * 6 // 10], "dir/half.x", LIMIT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"hello, this is text and no picture", "not a picture in a known format"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "HEIC"),
    ],
)
def test_what_is_not_a_picture_says_so(data, message):
    for read in (decode, upright_size):
        with pytest.raises(ImageError, match=f"^x.jpg: .*{message}"):
            read(data, "x.jpg", LIMIT)


def test_a_bomb_is_refused_from_its_header():
    data = encoded(Image.new("1", (12_000, 12_000)))
    assert len(data) < 100_000
    for read in (decode, upright_size):
        with pytest.raises(ImageError, match=r"12000x12000 pixels are more than data\.max_decode_pixels"):
            read(data, "bomb.png", LIMIT)
    huge = encoded(Image.new("1", (30_000, 30_000)))
    with pytest.raises(ImageError, match=r"^bomb\.png: "):
        upright_size(huge, "bomb.png", LIMIT)


def test_a_broken_tag_beside_the_orientation_does_no_harm():
    """A turned JPEG whose YResolution is text: Pillow's own transposition fails while it writes the tags again."""
    entries = struct.pack("<HHHIHH", 2, 0x0112, 3, 1, 6, 0) + struct.pack("<HHI4s", 0x011B, 2, 4, b"abc\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + entries + struct.pack("<I", 0)
    data = encoded(picture(), "JPEG", exif=exif)
    plain = decode(encoded(picture(), "JPEG"), "plain.jpg", LIMIT)
    np.testing.assert_array_equal(decode(data, "turned.jpg", LIMIT), np.rot90(plain, -1))
    assert upright_size(data, "turned.jpg", LIMIT) == (60, 40)


def test_resize_keeps_what_has_the_size_and_averages_when_shrinking():
    assert resize(PIXELS, 40, 60) is PIXELS
    fine = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (40, 40))[..., None].repeat(3, 2)
    small = resize(fine, 8, 8)
    assert small.shape == (8, 8, 3)
    np.testing.assert_allclose(small[2:-2, 2:-2], 127.5, atol=6)  # without antialiasing: 0 or 255


@pytest.mark.parametrize("size", [(17, 23), (24, 90), (81, 121)])
def test_resize_is_the_antialiased_bilinear_of_jax(size):
    theirs = jax.image.resize(PIXELS.astype(np.float32), (*size, 3), "linear", antialias=True)
    np.testing.assert_allclose(resize(PIXELS, *size), theirs, atol=1.1)  # Pillow rounds after each axis


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "GIF", "TIFF", "BMP", "WEBP", "AVIF"])
def test_a_damaged_file_of_any_kind_is_an_image_error_at_most(kind):
    """And not a warning; inspection agrees with decoding, and what decoding takes has the size of its header."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker of cameras"
    data = encoded(picture(), kind, **({} if kind in ("GIF", "BMP") else {"exif": exif}))
    # most of them where the header is
    for place in [*RNG.integers(0, len(data) - 4, 60), *RNG.integers(0, min(len(data) - 4, 400), 60)]:
        for damaged in (data[:place], data[:place] + RNG.bytes(4) + data[place + 4 :]):
            size, decoded, inspected = (verdict(look, damaged) for look in (upright_size, decode, inspect))
            assert decoded == inspected
            if decoded == "sound":
                assert size == "sound"
                assert decode(damaged, "a.jpg", LIMIT).shape[:2] == upright_size(damaged, "a.jpg", LIMIT)


OTHERS = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n%%EndComments\nshowpage\n",
    "EPS with a preview": b"\xc5\xd0\xd3\xc6"
    + struct.pack("<II", 32, 60)
    + bytes(20)
    + b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "PDF": b"%PDF-1.7\n",
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(80),
    "a program": b"#!/bin/sh\ntouch /tmp/harm\n",
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_what_could_start_a_program_is_an_unknown_format(data, monkeypatch):
    """Pillow gives EPS to Ghostscript."""
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(os, "system", None)
    for look in (upright_size, decode, inspect):
        with pytest.raises(
            UnknownFormat, match=r"^photo\.jpg: this is not a picture in a known format \(JPEG, "
        ):
            look(data + bytes(200), "photo.jpg", LIMIT)


@pytest.mark.parametrize(
    "kind", ["PPM", "TGA", "PCX", "ICO", "SGI", "JPEG2000", "DDS", "MSP", "XBM", "SPIDER"]
)
def test_other_formats_of_pillows_are_unknown(kind):
    data = encoded(picture("1" if kind in ("XBM", "MSP") else "F" if kind == "SPIDER" else "RGB"), kind)
    with pytest.raises(UnknownFormat):
        decode(data, "photo.jpg", LIMIT)


def verdict(look, data: bytes) -> str:
    try:
        look(data, "a.jpg", LIMIT)
    except ImageError as error:
        return type(error).__name__
    return "sound"


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}, {"quality": 20}]
)
def test_inspection_refuses_what_decoding_refuses(options):
    """JPEGs cut anywhere or with damaged bytes anywhere."""
    large = Image.fromarray(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480))
    data = encoded(large, "JPEG", **options)
    cuts = [*RNG.integers(2, len(data), 30).tolist(), *(len(data) - k for k in range(1, 6))]
    damaged = [data[:cut] for cut in cuts]
    for place in RNG.integers(2, len(data) - 8, 30):
        damaged.append(data[:place] + RNG.bytes(8) + data[place + 8 :])
    verdicts = [(verdict(decode, broken), verdict(inspect, broken)) for broken in damaged]
    assert all(ours == theirs for ours, theirs in verdicts)
    assert {"sound", "Damaged"} >= {ours for ours, _ in verdicts[:35]} and ("Damaged", "Damaged") in verdicts


def test_inspection_of_a_turned_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6
    found = inspect(encoded(picture().resize((640, 480)), "JPEG", exif=exif), "a.jpg", LIMIT)
    assert (found.height, found.width, found.format, found.mode) == (640, 480, "JPEG", "RGB")
    assert found.small.size == (60, 80)
    assert not (found.deep or found.transparent or found.animated)


def test_inspection_names_depth_transparency_and_animation():
    deep = Image.fromarray(np.zeros((40, 40), np.uint16))
    assert (
        inspect(encoded(deep), "a.png", LIMIT).deep and not inspect(encoded(picture()), "a.png", LIMIT).deep
    )
    assert inspect(encoded(picture("LA")), "a.png", LIMIT).transparent
    frames = encoded(picture(), "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40))])
    assert (
        inspect(frames, "a.gif", LIMIT).animated
        and not inspect(encoded(picture(), "GIF"), "a.gif", LIMIT).animated
    )
    # a telephone's JPEG with a preview
    both = encoded(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (60, 40))])
    found = inspect(both, "a.jpg", LIMIT)
    assert found.format == "JPEG" and not found.animated


@pytest.mark.parametrize("start", [b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x10JF", b"\x89PNG\r\n"])
def test_a_file_that_ends_in_its_header_is_damaged(start):
    with pytest.raises(Damaged, match=r"a\.jpg: the file .*; fetch it again"):
        decode(start, "a.jpg", LIMIT)
