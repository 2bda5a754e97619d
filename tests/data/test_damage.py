"""Files whose pixels are not all there are refused, by decoding as by inspection; what harms no pixel is not."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from mtp.data.images import Damaged, ImageError, UnknownFormat, decode, inspect, upright_size

LIMIT = 10**8


def photo(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """Smooth shapes with grain, which compress as photographs do."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return Image.fromarray((smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def verdict(data: bytes, look: Callable = decode) -> str:
    try:
        look(data, "a.jpg", LIMIT)
    except ImageError as error:
        return type(error).__name__
    return "sound"


JPEGS = [
    {"quality": 75},
    {"quality": 95, "subsampling": 0},
    {"quality": 30, "subsampling": 1},
    {"quality": 85, "optimize": True},
    {"quality": 80, "restart_marker_blocks": 8},
    {"quality": 75, "progressive": True},
    {"quality": 92, "progressive": True, "subsampling": 0},
]


def jpegs(options: dict, seeds: int = 3) -> Iterator[tuple[bytes, np.random.Generator, int]]:
    """A file, its random numbers, and where its coded pixels begin."""
    for seed in range(seeds):
        data = saved(photo(seed, 320 - seed, 240 - 7 * seed), "JPEG", **options)
        yield data, np.random.default_rng(seed), data.index(b"\xff\xda") + 12


def cut_and_closed(data: bytes, rng: np.random.Generator, start: int) -> bytes:
    return data[: rng.integers(start, len(data) - 16)] + b"\xff\xd9"


def zeros_inside(data: bytes, rng: np.random.Generator, start: int) -> bytes:
    place = int(rng.integers(start, len(data) - 600))
    return data[:place] + bytes(512) + data[place + 512 :]


def lost_inside(data: bytes, rng: np.random.Generator, start: int) -> bytes:
    place = int(rng.integers(start, len(data) - 600))
    return data[:place] + data[place + int(rng.integers(64, 600)) :]


def zeros_at_the_end(data: bytes, rng: np.random.Generator, start: int) -> bytes:
    place = int(rng.integers(start, len(data) - 40))
    return data[:place] + bytes(len(data) - place - 2) + data[-2:]


def cut(data: bytes, rng: np.random.Generator, start: int) -> bytes:
    return data[: rng.integers(start, len(data) - 16)]


@pytest.mark.parametrize("damage", [cut_and_closed, cut, zeros_inside, zeros_at_the_end, lost_inside])
@pytest.mark.parametrize("options", JPEGS, ids=str)
def test_a_damaged_jpeg_is_refused(options, damage):
    """Damage inside, in rare cases, leaves no trace: the coded blocks after it are as many as those it took.

    In a progressive file it may fall into scans of last bits, which any bytes are, and changes the picture little.
    """
    found = []
    for data, rng, start in jpegs(options):
        whole = decode(data, "a.jpg", LIMIT)
        assert verdict(data, inspect) == "sound"
        for _ in range(8):
            broken = damage(data, rng, start)
            found.append(verdict(broken) == "Damaged")
            assert verdict(broken, inspect) == verdict(broken)
            if not found[-1] and "progressive" in options:
                wrong = np.abs(decode(broken, "a.jpg", LIMIT) - whole.astype(int)).max(axis=2) > 8
                assert wrong.mean() < 0.05
    surely = {cut_and_closed, cut, zeros_at_the_end} | (
        {zeros_inside} if "progressive" not in options else set()
    )
    assert np.mean(found) >= (1 if damage in surely else 0.7)


@pytest.mark.parametrize("options", JPEGS, ids=str)
def test_changed_bytes_of_a_jpeg(options):
    """A tenth to a third is found: Huffman codes fall into step again, and then nothing is missing."""
    found = []
    for data, rng, start in jpegs(options):
        for place in rng.integers(start, len(data) - 16, 20):
            broken = bytearray(data)
            broken[place] ^= int(rng.integers(1, 256))
            verdicts = verdict(bytes(broken)), verdict(bytes(broken), inspect)
            assert verdicts[0] == verdicts[1]
            found.append(verdicts[0] == "Damaged")
    assert np.mean(found) > 0.02


def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused():
    """Each of its scans is whole, and no decoder complains: the picture is coarse."""
    data = saved(photo(0), "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for at in scans[1:]:
        tables = data.rfind(b"\xff\xc4", 0, at)
        for place in (at, tables):
            assert verdict(data[:place] + b"\xff\xd9") == "Damaged"


def test_a_jpeg_of_too_few_bytes_for_its_size_is_refused_from_its_header():
    for options in ({}, {"progressive": True}):
        data = bytearray(saved(photo(0), "JPEG", **options)[:3700] + b"\xff\xd9")
        frame = next(at for at in range(len(data)) if data[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))
        data[frame + 5 : frame + 9] = struct.pack(">HH", 1500, 65000)
        with pytest.raises(
            Damaged, match=r"^a\.jpg: .*3702 bytes cannot hold 65000x1500 pixels.*fetch it again"
        ):
            upright_size(bytes(data), "a.jpg", LIMIT)


def test_flat_jpegs_are_not_too_short():
    for options in ({"quality": 1}, {"quality": 95}, {"progressive": True}, {"optimize": True, "quality": 1}):
        for mode in ("L", "RGB"):
            assert verdict(saved(Image.new(mode, (4000, 3000)), "JPEG", **options)) == "sound"


def insert(data: bytes, marker: int, content: bytes) -> bytes:
    """A segment more, behind the first marker."""
    return data[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(content)) + content + data[2:]


HARMLESS: dict[str, Callable[[bytes], bytes]] = {
    "bytes behind the end": lambda d: d + bytes(5000) + b"more",
    "another picture behind the end": lambda d: d + d,
    "zeros before the end": lambda d: d[:-2] + bytes(512) + d[-2:],
    "fill bytes before the end": lambda d: d[:-2] + b"\xff" * 9 + d[-2:],
    "no end mark": lambda d: d[:-2],
    "an unknown revision of JFIF": lambda d: d.replace(b"JFIF\0\1", b"JFIF\0\2"),
    "unknown revision, zeros, no end mark": lambda d: d[:-2].replace(b"JFIF\0\1", b"JFIF\0\7") + bytes(64),
    "a broken colour profile": lambda d: insert(d, 0xE2, b"ICC_PROFILE\0\3\2" + bytes(40)),
    "a broken block of Photoshop's": lambda d: insert(d, 0xED, b"Photoshop 3.0\0" + b"8BIM\4\4" + bytes(3)),
    "a comment": lambda d: insert(d, 0xFE, bytes(60_000)),
}


@pytest.mark.parametrize("options", JPEGS, ids=str)
@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_harms_no_pixel_of_a_jpeg_is_not_refused(change, options):
    for data, _, _ in jpegs(options, seeds=2):
        changed = change(data)
        assert changed != data
        np.testing.assert_array_equal(decode(changed, "a.jpg", LIMIT), decode(data, "a.jpg", LIMIT))
        assert verdict(changed, inspect) == "sound"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [*JPEGS, {"keep_rgb": True}], ids=str)
def test_a_jpeg_has_the_pixels_that_pillow_gives(options, mode):
    for size in ((1, 1), (7, 5), (16, 16), (33, 65), (131, 97)):
        data = saved(photo(1, *size).convert(mode), "JPEG", **options)
        theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        np.testing.assert_array_equal(decode(data, "a.jpg", LIMIT), theirs)


def test_damage_in_four_channels_is_found():
    data = saved(photo(0).convert("CMYK"), "JPEG")
    rng, start = np.random.default_rng(0), data.index(b"\xff\xda") + 14
    for damage in (cut_and_closed, zeros_inside, lost_inside):
        assert verdict(damage(data, rng, start)) == "Damaged"


def test_odd_sampling_is_decoded_by_pillow():
    """3:1:1, which libjpeg's newer interface does not know; its damage is not found."""
    data = bytearray(saved(Image.new("RGB", (48, 16), "gray"), "JPEG", subsampling=0))
    frame = data.index(b"\xff\xc0")
    data[frame + 11] = 0x31
    pixels = decode(bytes(data), "a.jpg", LIMIT)
    assert pixels.shape == (16, 48, 3)
    assert upright_size(bytes(data), "a.jpg", LIMIT) == (16, 48)


def test_a_jpeg_of_12_bits_is_named():
    data = bytearray(saved(photo(0), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnknownFormat, match=r"^a\.jpg: this is a JPEG of 3 channels of 12 bits.*export it"):
        upright_size(bytes(data), "a.jpg", LIMIT)


def test_photographs_are_all_sound_and_have_pillows_pixels(shared_data):
    files = sorted(path for path in shared_data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    assert len(files) > 500
    for path in files:
        data = path.read_bytes()
        np.testing.assert_array_equal(
            decode(data, path.name, LIMIT), np.asarray(Image.open(path).convert("RGB"))
        )
        inspect(data, path.name, LIMIT)


# PNG


def chunk(name: bytes, content: bytes, wrong: bool = False) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content) ^ wrong)
    )


def with_chunk(data: bytes, added: bytes, before: bytes = b"IDAT") -> bytes:
    place = data.index(before) - 4
    return data[:place] + added + data[place:]


BESIDE = {
    "3 MB of text": chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
    "packed text of 200 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 1)),
    "text, wrong sum": chunk(b"tEXt", b"Comment\0hello", wrong=True),
    "international text, wrong sum": chunk(b"iTXt", b"a\0\0\0\0\0b", wrong=True),
    "text that cannot be unpacked": chunk(b"zTXt", b"Comment\0\0abc"),
    "profile of 90 MB": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(90_000_000), 1)),
    "profile, wrong sum": chunk(b"iCCP", b"p\0\0" + zlib.compress(b"abc"), wrong=True),
    "resolution, wrong sum": chunk(b"pHYs", bytes(9), wrong=True),
    "resolution, too short": chunk(b"pHYs", bytes(2)),
    "gamma, too short": chunk(b"gAMA", b""),
    "time, wrong sum": chunk(b"tIME", bytes(7), wrong=True),
    "EXIF, wrong sum": chunk(
        b"eXIf", b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0), wrong=True
    ),
    "a private chunk": chunk(b"prVt", b"anything", wrong=True),
    "an animation of nothing": chunk(b"acTL", bytes(8)),
}


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("added", BESIDE.values(), ids=BESIDE)
def test_what_lies_beside_the_pixels_of_a_png_harms_none(added, before, recwarn):
    image = photo(0, 60, 40)
    for data in (saved(image, "PNG"), saved(image.quantize(16), "PNG", bits=4)):
        changed = with_chunk(data, added, before)
        np.testing.assert_array_equal(decode(changed, "a.png", LIMIT), decode(data, "a.png", LIMIT))
        assert verdict(changed, inspect) == "sound"
        assert upright_size(changed, "a.png", LIMIT) == (40, 60)
    assert not recwarn.list


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT", b"PLTE", b"tRNS"])
def test_a_wrong_sum_where_pixels_are_made_is_damage(name):
    data = saved(photo(0, 60, 40).quantize(16), "PNG", transparency=3)
    rng = np.random.default_rng(0)
    place = data.index(name) + 4
    length = struct.unpack(">I", data[place - 8 : place - 4])[0]
    for at in rng.integers(place, place + length + 4, 20):
        broken = bytearray(data)
        broken[at] ^= int(rng.integers(1, 256))
        assert verdict(bytes(broken)) == verdict(bytes(broken), inspect) == "Damaged"


# WebP, which has no check sum


@pytest.mark.parametrize(
    ("options", "damage", "least"),
    [
        ({"quality": 80}, zeros_inside, 0.9),
        ({"quality": 30}, zeros_inside, 0.85),
        ({"lossless": True, "method": 1}, zeros_inside, 1.0),
        ({"quality": 80}, lost_inside, 1.0),
        ({"lossless": True, "method": 1}, lost_inside, 1.0),
        ({"quality": 80}, cut, 1.0),
        ({"lossless": True, "method": 1}, cut, 1.0),
    ],
)
def test_damage_in_a_webp_is_found(options, damage, least):
    found = []
    for seed in range(3):
        data, rng = saved(photo(seed), "WEBP", **options), np.random.default_rng(seed)
        for _ in range(10):
            broken = damage(data, rng, 60)
            assert verdict(broken) == verdict(broken, inspect)
            found.append(verdict(broken) == "Damaged")
    assert np.mean(found) >= least


def flat_and_drawn() -> Iterator[Image.Image]:
    """Pictures that compress to almost nothing, with long runs of zeros."""
    down, across = np.mgrid[:90, :120]
    rng = np.random.default_rng(0)
    for colour in ("black", "white", "red", (1, 2, 3)):
        yield Image.new("RGB", (400, 300), colour)
        yield Image.new("RGB", (32, 32), colour)
    boards = ((down // side + across // side) % 2 * 255 for side in (1, 8))
    for grey in (down, across * 2, (down + across) % 256, *boards):
        yield Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    yield Image.fromarray((rng.random((90, 120)) < 0.01).astype(np.uint8) * 255).convert("RGB")
    yield Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    page = Image.new("RGB", (500, 200))
    page.paste(photo(0, 60, 40), (3, 5))
    yield page


WEBPS = [
    {"quality": 80}, {"quality": 5, "method": 0}, {"quality": 100, "method": 0},
    {"lossless": True, "quality": 0, "method": 0}, {"lossless": True, "quality": 60},
    {"quality": 80, "method": 3}, {"lossless": True, "exact": True, "quality": 20},
]  # fmt: skip


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("options", WEBPS, ids=str)
def test_no_whole_webp_is_refused(options, alpha):
    for image in flat_and_drawn():
        if alpha:
            image.putalpha(photo(3, *image.size).convert("L"))
        assert verdict(saved(image, "WEBP", **options)) == "sound"


# AVIF, which has none either


AVIFS = [
    {"speed": 10}, {"speed": 9, "quality": 20}, {"speed": 9, "quality": 100}, {"speed": 9, "subsampling": "4:4:4"},
]  # fmt: skip


@pytest.mark.parametrize("options", AVIFS, ids=str)
def test_damage_in_an_avif_is_found(options):
    data, rng, found = saved(photo(0), "AVIF", **options), np.random.default_rng(0), []
    for damage in (zeros_inside, lost_inside, cut):
        for _ in range(8):
            broken = damage(data, rng, 400)
            assert verdict(broken) == verdict(broken, inspect)
            found.append(verdict(broken) == "Damaged")
    assert np.mean(found) > 0.95


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("options", AVIFS, ids=str)
def test_no_whole_avif_is_refused(options, alpha):
    for image in (*flat_and_drawn(), photo(0), photo(1, 131, 97)):
        if alpha:
            image.putalpha(photo(3, *image.size).convert("L"))
        assert verdict(saved(image, "AVIF", **options)) == "sound"


def test_an_animated_avif_is_its_first_frame():
    data = saved(photo(0), "AVIF", save_all=True, append_images=[photo(1)], speed=10)
    assert inspect(data, "a.avif", LIMIT).animated and verdict(data) == "sound"


def test_an_animated_webp_is_its_first_frame():
    data = saved(photo(0), "WEBP", save_all=True, append_images=[photo(1)], quality=80)
    assert inspect(data, "a.webp", LIMIT).animated and verdict(data) == "sound"
    place = data.index(b"VP8 ") + 2000
    assert verdict(data[:place] + bytes(512) + data[place + 512 :]) == "Damaged"


def test_bytes_behind_a_webp_do_no_harm():
    data = saved(photo(0), "WEBP")
    np.testing.assert_array_equal(decode(data + bytes(99), "a", LIMIT), decode(data, "a", LIMIT))
