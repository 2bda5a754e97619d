"""TIFF: what its tags say is looked at here; Pillow gets a file with those tags alone that make pixels.

It would turn the picture itself, warn of every other broken tag, and read numbers as pixels that have no fixed white.
"""

import io
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping

from PIL import Image, ImageFile, TiffImagePlugin

from mtp.data.formats import directory, exif, jpeg
from mtp.data.formats.depth import eight_bits
from mtp.data.formats.directory import Directory, Layout
from mtp.data.formats.stored import Broken, Raw, Stored, Unsupported

KIND, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL = 254, 256, 257, 258, 259, 262, 266
STRIPS, CHANNELS, STRIP_BYTES, PLANAR, COLOURS, TILES, TILE_BYTES = 273, 277, 279, 284, 320, 324, 325
SUB, EXTRA, SAMPLE_FORMAT, TABLES, SUBSAMPLING, XMP, DNG = 330, 338, 339, 347, 530, 700, 50706
ONE = {
    WIDTH,
    HEIGHT,
    COMPRESSION,
    PHOTOMETRIC,
    FILL,
    CHANNELS,
    PLANAR,
    278,
    317,
    322,
    323,
}  # tags of one number
# of pixels: rows a strip, options of fax, predictor, tiles, old JPEG, YCbCr
KEPT = {*ONE, BITS, STRIPS, STRIP_BYTES, 292, 293, COLOURS, TILES, TILE_BYTES, EXTRA, SAMPLE_FORMAT, TABLES,
        *range(512, 522), 529, SUBSAMPLING, 532}  # fmt: skip
SENSOR = {32803: "a colour filter's samples", 34892: "a sensor's linear samples"}  # photometric
NUMBERS = {2: "signed numbers", 3: "floating-point numbers", 5: "complex numbers", 6: "complex numbers"}
WHITE_IS_ZERO, YCBCR, LAB = 0, 6, 8
RAW, OLD_JPEG, JPEG, DEFLATE, PACKBITS = 1, 6, 7, (8, 32946), 32773
OTHER_WAY = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
SHOWN = {
    "photometric": PHOTOMETRIC,
    "compression": COMPRESSION,
    "bits": BITS,
    "planes": PLANAR,
    "sample format": SAMPLE_FORMAT,
}
MANY = 1 << 24  # entries of a tag that are read

Tags = Mapping[int, tuple[int, ...]]


class _Picture(TiffImagePlugin.TiffImageFile):
    def load_prepare(self) -> None:
        # without Pillow's own limit and its warning, which threads cannot turn off: ours is checked before
        ImageFile.ImageFile.load_prepare(self)


def read(data: bytes) -> Stored:
    """Errors: Broken; Raw where a camera wrote it; Unsupported where its numbers have no fixed white."""
    of = directory.layout(data)
    found = directory.read(data, of, of.first)
    tags = {e.tag: directory.numbers(data, of, e, MANY) for e in found.entries if e.tag in KEPT | {KIND, XMP}}
    _refuse_raw(data, of, tags, {entry.tag for entry in found.entries})
    if any(not e.whole for e in found.entries if e.tag in KEPT) or not (tags.get(WIDTH) and tags.get(HEIGHT)):
        raise Broken("its tags are not whole")
    _refuse_numbers(tags)
    # the file itself has EXIF's form; what is not whole beside the tags of pixels is no damage
    orientation, whole = exif.read(data, bytes(number & 255 for number in tags.get(XMP, ())))
    image = _open(data, of, found, tags)
    return Stored(
        format="TIFF",
        height=image.height,
        width=image.width,
        mode=image.mode,
        orientation=orientation,
        exif_whole=whole,
        deep=_bits(tags) > 8,
        transparent=image.has_transparency_data,
        animated=lambda: found.next > 0,
        load=lambda _: _loaded(image, data, tags),
    )


def _bits(tags: Tags) -> int:
    return max(tags.get(BITS, ()), default=1)


def _first(tags: Tags, tag: int, default: int) -> int:
    return next(iter(tags.get(tag, ())), default)


def _refuse_raw(data: bytes, of: Layout, tags: Tags, names: Collection[int]) -> None:
    if _first(tags, KIND, 0) & 1 and SUB in names:
        raise Raw("its first picture is the thumbnail of another one inside")
    for found in directory.chain(data, of, SUB):
        if any(entry.tag == DNG for entry in found.entries):
            raise Raw("DNG")
        for entry in found.entries:
            sensor = {
                SENSOR.get(n) for n in directory.numbers(data, of, entry) if entry.tag == PHOTOMETRIC
            } - {None}
            if sensor:
                raise Raw(f"TIFF with {sensor.pop()}")


def _refuse_numbers(tags: Tags) -> None:
    """Errors: Unsupported."""
    numbers = [NUMBERS[n] for n in tags.get(SAMPLE_FORMAT, ()) if n in NUMBERS]
    bits = _bits(tags)
    if numbers or bits > 16:
        raise Unsupported(
            f"this is a TIFF of {bits}-bit {numbers[0] if numbers else 'numbers'}, which have no fixed white; export "
            "it with 8 or 16 bits a channel"
        )
    compression, photometric = _first(tags, COMPRESSION, RAW), _first(tags, PHOTOMETRIC, 0)
    apart = _first(tags, PLANAR, 1) == 2
    whole = _first(tags, CHANNELS, 1) == 3 and not apart and tags.get(SUBSAMPLING, (2, 2)) == (1, 1)
    if photometric == YCBCR and compression not in (OLD_JPEG, JPEG) and not whole:
        raise Unsupported("this is a TIFF of YCbCr in parts and without JPEG; export it as RGB")
    if apart and (bits > 8 or photometric == LAB):
        raise Unsupported(
            f"this is a TIFF of {bits}-bit channels, one after the other; export it as RGB with them interleaved"
        )


def _open(data: bytes, of: Layout, found: Directory, tags: Tags) -> Image.Image:
    """The picture by the tags of pixels alone. Errors: Unsupported."""
    try:
        return _Picture(io.BytesIO(_with_pixels_only(data, of, found, tags)))
    except SyntaxError as error:
        raise _unknown(tags) from error


def _unknown(tags: Tags) -> Unsupported:
    shown = {name: tags[tag] for name, tag in SHOWN.items() if tag in tags}
    described = ", ".join(f"{name} {'/'.join(map(str, values[:8]))}" for name, values in shown.items())
    return Unsupported(
        f"this is a TIFF of a kind that cannot be read ({described}); export it as RGB with 8 bits a channel"
    )


def _with_pixels_only(data: bytes, of: Layout, found: Directory, tags: Tags) -> bytes:
    """The file with a directory, in the place of its first, of the tags that make pixels."""
    head, inline = (8, "Q") if of.big else (2, "I")
    raw = _first(tags, COMPRESSION, RAW) == RAW
    kept = []
    for number, entry in enumerate(found.entries):
        start = found.place + head + number * of.entry
        values = directory.numbers(data, of, entry, 1)
        if entry.tag in ONE and entry.count > 1 and values:
            # Pillow warns of more than the one that it takes
            kept.append(
                struct.pack(f"{of.order}HH{inline}{inline}", entry.tag, 16 if of.big else 4, 1, *values)
            )
        elif entry.tag in KEPT and not (entry.tag == FILL and raw):
            kept.append(data[start : start + of.entry])
    written = (
        struct.pack(of.order + ("Q" if of.big else "H"), len(kept))
        + b"".join(kept)
        + bytes(8 if of.big else 4)
    )
    clean = data[: found.place] + written + data[found.place + len(written) :]
    if raw and _first(tags, FILL, 1) == 2:
        return _turned(clean, tags)
    return clean


def _turned(data: bytes, tags: Tags) -> bytes:
    """The bits of each byte of the pixels the other way round: Pillow knows them for some layouts only."""
    turned = bytearray(data)
    for place, size in _places(tags):
        turned[place : place + size] = data[place : place + size].translate(OTHER_WAY)
    return bytes(turned)


def _loaded(image: Image.Image, data: bytes, tags: Tags) -> Image.Image:
    """Errors: Broken, Unsupported."""
    _check_parts(data, tags)
    try:
        image.load()
    except ValueError as error:
        # before it reads any: some layouts are known one channel after the other, some are not
        if "raw mode" in str(error):
            raise _unknown(tags) from error
        raise
    if image.mode.startswith("I"):
        inverted = _first(tags, PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO
        return eight_bits(image, (1 << _bits(tags)) - 1, inverted)
    return image


def _check_parts(data: bytes, tags: Tags) -> None:
    """Strips or tiles that hold a check sum, or a JPEG, which libtiff reads past damage. Errors: Broken."""
    compression = _first(tags, COMPRESSION, RAW)
    if compression == JPEG:
        tables = bytes(number & 255 for number in tags.get(TABLES, ()))[:-2]
        for part in _parts(data, tags):
            jpeg.read(tables + part[2:] if tables else part).load(1)
    elif compression in DEFLATE and _first(tags, FILL, 1) == 1:
        for part in _parts(data, tags):
            _inflate(part)
    elif compression == PACKBITS:
        unpacked = sum(map(_unpacked, _parts(data, tags)))
        if STRIPS in tags and unpacked != _unpacked_size(tags):
            raise Broken(f"its strips hold {unpacked} bytes of pixels, not {_unpacked_size(tags)}")


def _unpacked(part: bytes) -> int:
    """Bytes that PackBits (TIFF 6.0, section 9) makes of these."""
    at = total = 0
    while at < len(part):
        count = part[at]
        total += 0 if count == 128 else count + 1 if count < 128 else 257 - count
        at += count + 2 if count < 128 else 1 if count == 128 else 2
    return total


def _unpacked_size(tags: Tags) -> int:
    """Bytes of the pixels of all strips."""
    bits = tags.get(BITS, (1,)) * (_first(tags, CHANNELS, 1) if len(tags.get(BITS, (1,))) == 1 else 1)
    planes = bits if _first(tags, PLANAR, 1) == 2 else (sum(bits),)
    return sum(-(-_first(tags, WIDTH, 0) * each // 8) for each in planes) * _first(tags, HEIGHT, 0)


def _parts(data: bytes, tags: Tags) -> Iterator[bytes]:
    """The coded bytes of each strip or tile. Errors: Broken where one lies outside the file."""
    for place, size in _places(tags):
        if place + size > len(data):
            raise Broken("a strip lies outside the file")
        yield data[place : place + size]


def _places(tags: Tags) -> Iterator[tuple[int, int]]:
    """Place and length of each strip or tile."""
    places = tags.get(STRIPS) or tags.get(TILES, ())
    sizes = tags.get(STRIP_BYTES) or tags.get(TILE_BYTES, ())
    return zip(places, sizes, strict=False)


def _inflate(part: bytes) -> None:
    """Errors: Broken."""
    stream = zlib.decompressobj()
    try:
        while part and not stream.eof:
            stream.decompress(part, 1 << 20)
            part = stream.unconsumed_tail
    except zlib.error as error:
        raise Broken(str(error)) from error
    if not stream.eof:
        raise Broken("a strip is cut short")
