"""TIFF: every layout of samples that Pillow opens is the right picture, or a refusal that says why."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import OPEN_INFO

from mtp.data.images import CameraRaw, Damaged, UnknownFormat, decode, inspect, upright_size

LIMIT = 10**6
HEIGHT, WIDTH = 6, 8  # a whole number of bytes a row for 1, 2, 4 and 12 bits
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8


def written(order: str, tags: dict[int, tuple[int, ...]], body: bytes, after: bytes = b"") -> bytes:
    """A TIFF with these tags as 16-bit numbers (places and lengths as 32-bit ones) and one strip."""
    long = {273, 279, 330, 256, 257}
    tags = {273: (0,), 279: (len(body),), **tags}
    letters = {tag: "I" if tag in long else "H" for tag in tags}
    lengths = {tag: len(numbers) * (4 if tag in long else 2) for tag, numbers in tags.items()}
    first = 8 + 2 + 12 * len(tags) + 4
    strip = first + sum(length for length in lengths.values() if length > 4)
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        if tag == 273:  # places count from the strips' beginning
            numbers = tuple(strip + place for place in numbers)
        value = struct.pack(f"{order}{len(numbers)}{letters[tag]}", *numbers)
        if len(value) > 4:
            value, values = struct.pack(order + "I", first + len(values)), values + value
        entries += struct.pack(
            order + "HHI", tag, 4 if letters[tag] == "I" else 3, len(numbers)
        ) + value.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(tags))
    return head + entries + bytes(4) + values + body + after


def packed(order: str, samples: np.ndarray, bits: int, fill: int) -> bytes:
    """(H, W, C) numbers of so many bits as the rows of a strip."""
    if bits in (16, 32):
        return turned(samples.astype(f"{order}u{bits // 8}").tobytes(), fill)
    rows = samples.reshape(len(samples), -1)
    digits = (rows[..., None] >> np.arange(bits, dtype=np.uint64)[::-1]) & np.uint64(1)
    return turned(np.packbits(digits.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes(), fill)


def turned(data: bytes, fill: int) -> bytes:
    """With the lowest bit of each byte first where the fill order is 2."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8)[:, None], axis=1)
    return np.packbits(bits[:, ::-1] if fill == 2 else bits, axis=1).tobytes()


def expected(photometric: int, extra: tuple[int, ...], shares: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(H, W, 3) of 0..255; shares: (H, W, C) of 0..1, indices of a palette as they are."""
    count = shares.shape[2] - len(extra)
    colour = shares[..., :count]
    if photometric == PALETTE:
        colour = palette[colour[..., 0].astype(int)] / 255
    elif photometric == WHITE_IS_ZERO:
        colour = 1 - colour
    elif photometric == CMYK:
        colour = (1 - colour[..., :3]) * (1 - colour[..., 3:])
    if extra[:1] in ((1,), (2,), (999,)):
        alpha = shares[..., count : count + 1]
        colour = colour + 1 - alpha if extra[0] == 1 else colour * alpha + 1 - alpha
    return np.broadcast_to(255 * colour, (*colour.shape[:2], 3))


def case(key, compression: int = 1, planar: int = 1) -> tuple[bytes, np.ndarray]:
    """A file of one of Pillow's layouts, and the picture that it is."""
    prefix, photometric, formats, fill, bits, extra = key
    order = {b"II": "<", b"MM": ">"}[prefix]
    rng = np.random.default_rng(len(bits) + bits[0] + photometric)
    samples = rng.integers(0, 1 << bits[0], (HEIGHT, WIDTH, len(bits)), dtype=np.uint64)
    if extra[:1] == (1,):
        colours = len(bits) - len(extra)
        samples[..., colours] |= 1 << (bits[0] - 1)
        samples[..., :colours] = samples[..., :colours] * samples[..., colours : colours + 1] >> bits[0]
    if photometric in (YCBCR, LAB) and len(bits) == 3:
        samples[..., 1:] = 128 if photometric == YCBCR else 0
    parts = np.moveaxis(samples, 2, 0)[..., None] if planar == 2 else [samples]
    body = b"".join(packed(order, part, bits[0], fill) for part in parts)
    if compression == 8:
        # the fill order is that of the coded bytes
        body = turned(zlib.compress(turned(body, fill)), fill)
    palette = rng.integers(0, 256, (1 << min(bits[0], 8), 3))
    tags = {
        256: (WIDTH,), 257: (HEIGHT,), 258: bits, 259: (compression,), 262: (photometric,), 266: (fill,),
        277: (len(bits),), 278: (HEIGHT,), 284: (planar,), 339: formats * len(bits), 530: (1, 1),
    }  # fmt: skip
    if extra:
        tags[338] = extra
    if photometric == PALETTE:
        tags[320] = tuple((257 * palette.T).ravel().tolist())
    if planar == 2:
        size = len(body) // len(bits)
        tags |= {273: tuple(size * n for n in range(len(bits))), 279: (size,) * len(bits)}
    return written(order, tags, body), looks(key, samples, palette)


def looks(key, samples: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) that numbers (H, W, C) of this layout make."""
    _, photometric, _, _, bits, extra = key
    if photometric == LAB:
        return np.broadcast_to(255 * srgb_of_lightness(samples[..., :1] / 2.55), samples.shape)
    if photometric == RGB and len(bits) == 4 and not extra:
        extra = (2,)
    shares = samples / ((1 << bits[0]) - 1)
    if photometric == PALETTE:
        shares[..., 0] = samples[..., 0]
    return expected(photometric, extra, shares[..., :1] if photometric == YCBCR else shares, palette)


def srgb_of_lightness(lightness: np.ndarray) -> np.ndarray:
    """CIE 1976, without colour."""
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    return np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)


KEYS = sorted(OPEN_INFO, key=repr)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("key", KEYS, ids=map(str, KEYS))
def test_every_layout_that_pillow_opens(key, compression):
    _, photometric, formats, _, bits, _ = key
    data, wanted = case(key, compression)
    if formats != (1,) or bits[0] > 16:
        with pytest.raises(
            UnknownFormat, match=r"a\.tif: this is a TIFF of .*fixed white; export it with 8 or 16"
        ):
            upright_size(data, "a.tif", LIMIT)
        return
    if photometric == YCBCR and len(bits) == 1:
        with pytest.raises(UnknownFormat, match=r"a\.tif: this is a TIFF of YCbCr .*; export it as RGB"):
            upright_size(data, "a.tif", LIMIT)
        return
    pixels = decode(data, "a.tif", LIMIT)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert inspect(data, "a.tif", LIMIT).deep == (bits[0] > 8)
    np.testing.assert_allclose(pixels, wanted, atol=1.6 if bits[0] <= 8 and photometric != LAB else 2.6)


@pytest.mark.parametrize("key", [key for key in KEYS if len(key[4]) > 1], ids=str)
def test_channels_one_after_the_other_are_right_or_refused(key):
    data, wanted = case(key, planar=2)
    try:
        pixels = decode(data, "a.tif", LIMIT)
    except UnknownFormat as error:
        assert "; export it" in str(error)
        return
    np.testing.assert_allclose(pixels, wanted, atol=2.6)


def test_plain_rgb_of_separate_channels_is_read():
    for prefix in (b"II", b"MM"):
        data, wanted = case((prefix, RGB, (1,), 1, (8, 8, 8), ()), planar=2)
        np.testing.assert_array_equal(decode(data, "a.tif", LIMIT), wanted)


def test_numbers_without_a_fixed_white_are_refused_whoever_wrote_them():
    grey = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    for image in (Image.fromarray(grey), Image.fromarray((grey * 1000).astype(np.int32))):
        buffer = io.BytesIO()
        image.save(buffer, "TIFF", compression="tiff_lzw")
        for look in (upright_size, decode, inspect):
            with pytest.raises(
                UnknownFormat, match=r"a\.tif: this is a TIFF of 32-bit .*white; export it with 8 or 16"
            ):
                look(buffer.getvalue(), "a.tif", LIMIT)


def plain(order: str = "<", more: dict | None = None, body: bytes | None = None) -> bytes:
    tags = {256: (8,), 257: (6,), 258: (8, 8, 8), 259: (1,), 262: (RGB,), 277: (3,), 278: (6,)}
    return written(order, tags | (more or {}), bytes(range(144)) if body is None else body)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "more",
    [
        {50706: (1, 4)},  # DNG
        {254: (1,), 330: (8,)},  # NEF, ARW, NRW, SRW, 3FR: a thumbnail, and the picture in a directory below
        {262: (32803,)},
        {262: (34892,)},
    ],
    ids=["DNG", "thumbnail", "colour filter", "linear"],
)
def test_raw_in_the_dress_of_a_tiff_is_refused_as_raw(more, order):
    for look in (upright_size, decode, inspect):
        with pytest.raises(CameraRaw, match=r"^a\.jpg: this is a camera's RAW file .*export it as JPEG"):
            look(plain(order, more), "a.jpg", LIMIT)
    assert upright_size(plain(order), "a.tif", LIMIT) == (6, 8)


def test_raw_in_a_directory_behind_or_below_is_refused():
    """Of Pentax' and Epson's kind: the first directory looks as any TIFF's."""
    below = struct.pack("<H", 1) + struct.pack("<HHIHH", 262, 3, 1, 32803, 0) + bytes(4)
    data = plain("<", {330: (0,)})
    place = len(data)
    entry = data.index(struct.pack("<HHI", 330, 4, 1)) + 8
    data = data[:entry] + struct.pack("<I", place) + data[entry + 4 :] + below
    with pytest.raises(CameraRaw):
        upright_size(data, "a.tif", LIMIT)


@pytest.mark.parametrize(
    "start",
    [
        b"IIRO\x08\0\0\0", b"IIRS\x08\0\0\0", b"MMOR\0\0\0\x08", b"IIU\0\x18\0\0\0", b"FUJIFILMCCD-RAW 0201",
        b"\0\0\0\x18ftypcrx \0\0\0\1", b"II*\0\x10\0\0\0CR\2\0", b"FOVb\0\0\3\0", b"\0MRM\0\0\0\0",
    ],
)  # fmt: skip
def test_other_raw_files_are_refused_as_raw(start):
    with pytest.raises(CameraRaw, match=r"^a\.nef: this is a camera's RAW file"):
        upright_size(start + bytes(200), "a.nef", LIMIT)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_colour_map_of_8_bits_where_16_are_the_rule(bits):
    rng = np.random.default_rng(bits)
    colours, samples = rng.integers(0, 256, (1 << bits, 3)), rng.integers(0, 1 << bits, (HEIGHT, WIDTH, 1))
    body = packed("<", samples.astype(np.uint64), bits, 1)
    tags = {
        256: (WIDTH,), 257: (HEIGHT,), 258: (bits,), 259: (1,), 262: (PALETTE,), 277: (1,), 278: (HEIGHT,), 284: (1,),
        320: tuple(colours.T.ravel().tolist()),
    }  # fmt: skip
    np.testing.assert_array_equal(decode(written("<", tags, body), "a.tif", LIMIT), colours[samples[..., 0]])


def test_broken_tags_beside_the_pixels_do_no_harm(recwarn):
    """Text that lies outside the file, and two widths: Pillow would warn of each file in its own words."""
    wanted = decode(plain(), "a.tif", LIMIT)
    text = struct.pack("<HHII", 270, 2, 500, 1 << 20)
    data = plain("<", {270: (7,)})
    entry = data.index(struct.pack("<HHI", 270, 3, 1))
    data = data[:entry] + text + data[entry + 12 :]
    np.testing.assert_array_equal(decode(data, "a.tif", LIMIT), wanted)
    assert not inspect(data, "a.tif", LIMIT).exif_whole and inspect(plain(), "a.tif", LIMIT).exif_whole
    np.testing.assert_array_equal(decode(plain("<", {256: (8, 8)}), "a.tif", LIMIT), wanted)
    assert not recwarn.list


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "jpeg", "packbits", "tiff_lzw"])
def test_damage_that_libtiff_reads_over(compression):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)).resize(
        (300, 200)
    )
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF", compression=compression)
    data = buffer.getvalue()
    np.testing.assert_allclose(decode(data, "a.tif", LIMIT), picture, atol=60 if compression == "jpeg" else 0)
    for place in (len(data) // 3, len(data) // 2):
        with pytest.raises(Damaged):
            decode(data[:place] + bytes(512) + data[place + 512 :], "a.tif", LIMIT)


def test_a_large_one_brings_no_warning_of_pillows_own_limit(recwarn):
    buffer = io.BytesIO()
    Image.new("1", (9600, 9600)).save(buffer, "TIFF", compression="group4")
    assert upright_size(buffer.getvalue(), "a.tif", 10**8) == (9600, 9600)
    assert inspect(buffer.getvalue(), "a.tif", 10**8).height == 9600
    assert not recwarn.list
