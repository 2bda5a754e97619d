"""PNG: every depth, kind of colour and way of being transparent is the picture that the specification says."""

import struct
import zlib

import numpy as np
import pytest

from mtp.data.images import UnknownFormat, decode, inspect

LIMIT = 10**6
HEIGHT, WIDTH = 9, 14
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
KINDS = [(colour, depth) for colour, depths in DEPTHS.items() for depth in depths]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def written(colour: int, depth: int, samples: np.ndarray, more: bytes = b"") -> bytes:
    """samples: (H, W, C) numbers of so many bits."""
    rows = samples.reshape(HEIGHT, -1).astype(np.uint64)
    digits = (rows[..., None] >> np.arange(depth, dtype=np.uint64)[::-1]) & np.uint64(1)
    packed = np.packbits(digits.reshape(HEIGHT, -1).astype(np.uint8), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def numbers(colour: int, depth: int) -> np.ndarray:
    rng = np.random.default_rng(colour + depth)
    return rng.integers(0, 1 << depth, (HEIGHT, WIDTH, CHANNELS[colour]))


def palette(depth: int) -> np.ndarray:
    return np.random.default_rng(depth).integers(0, 256, (1 << depth, 3))


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return colour * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_every_kind(colour, depth):
    samples, top = numbers(colour, depth), (1 << depth) - 1
    if colour == PALETTE:
        more = chunk(b"PLTE", palette(depth).astype(np.uint8).tobytes())
        wanted = palette(depth)[samples[..., 0]]
    else:
        more, wanted = b"", 255 * samples / top
        if colour in (GREY_ALPHA, RGBA):
            wanted = on_white(wanted[..., :-1], samples[..., -1:] / top)
    data = written(colour, depth, samples, more)
    pixels = decode(data, "a.png", LIMIT)
    np.testing.assert_allclose(
        pixels, np.broadcast_to(wanted, pixels.shape), atol=0.51 if depth < 16 else 2.1
    )
    found = inspect(data, "a.png", LIMIT)
    assert found.deep == (depth == 16) and found.transparent == (colour in (GREY_ALPHA, RGBA))
    assert found.format == "PNG" and (found.height, found.width) == (HEIGHT, WIDTH)


@pytest.mark.parametrize(("colour", "depth"), [kind for kind in KINDS if kind[0] in (GREY, RGB)])
def test_one_colour_that_is_transparent(colour, depth):
    samples, top = numbers(colour, depth), (1 << depth) - 1
    key = samples[4, 5]
    samples[2, 3:9] = key
    data = written(colour, depth, samples, chunk(b"tRNS", key.astype(">u2").tobytes()))
    clear = (samples == key).all(axis=-1, keepdims=True)
    wanted = on_white(255 * samples / top, 1.0 - clear)
    if (colour, depth) == (RGB, 16):
        with pytest.raises(
            UnknownFormat, match=r"^a\.png: this is a PNG of 16 bits with one .*export it with 8 bits"
        ):
            inspect(data, "a.png", LIMIT)
        return
    pixels = decode(data, "a.png", LIMIT)
    assert (pixels[2, 3:9] == 255).all()
    np.testing.assert_allclose(
        pixels, np.broadcast_to(wanted, pixels.shape), atol=0.51 if depth < 16 else 1.1
    )
    assert inspect(data, "a.png", LIMIT).transparent


@pytest.mark.parametrize("depth", DEPTHS[PALETTE])
def test_a_palette_with_transparency(depth):
    samples, colours = numbers(PALETTE, depth)[..., 0], palette(depth)
    alphas = np.random.default_rng(1).integers(0, 256, 1 << depth)
    more = chunk(b"PLTE", colours.astype(np.uint8).tobytes()) + chunk(
        b"tRNS", alphas.astype(np.uint8).tobytes()
    )
    data = written(PALETTE, depth, samples[..., None], more)
    wanted = on_white(colours[samples], alphas[samples][..., None] / 255)
    np.testing.assert_allclose(decode(data, "a.png", LIMIT), wanted, atol=1.1)
    assert inspect(data, "a.png", LIMIT).transparent
