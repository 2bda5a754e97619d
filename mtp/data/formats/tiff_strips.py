"""The strips or tiles of a TIFF, and damage in them that libtiff reads past."""

import zlib
from collections.abc import Iterator

from mtp.data.formats import jpeg, tiff_tags
from mtp.data.formats.stored import Broken
from mtp.data.formats.tiff_tags import Tags, first

OTHER_WAY = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def places(tags: Tags) -> list[tuple[int, int]]:
    """Place and length of each strip or tile; of a file that does not say the lengths none."""
    starts = tags.get(tiff_tags.STRIPS) or tags.get(tiff_tags.TILES, ())
    sizes = tags.get(tiff_tags.STRIP_BYTES) or tags.get(tiff_tags.TILE_BYTES, ())
    return list(zip(starts, sizes, strict=False))


def turned(data: bytes, tags: Tags) -> bytes:
    """The bits of each byte of the pixels the other way round: Pillow knows them for some layouts only."""
    other = bytearray(data)
    for place, size in places(tags):
        other[place : place + size] = data[place : place + size].translate(OTHER_WAY)
    return bytes(other)


def check(data: bytes, tags: Tags) -> None:
    """Errors: Broken where a check sum does not hold, a JPEG is damaged, or the pixels are of another number."""
    compression = first(tags, tiff_tags.COMPRESSION, tiff_tags.RAW)
    if compression == tiff_tags.JPEG:
        tables = bytes(number & 255 for number in tags.get(tiff_tags.TABLES, ()))[:-2]
        for strip in _strips(data, tags):
            jpeg.read(tables + strip[2:] if tables else strip).load(1)
    elif compression in tiff_tags.DEFLATE and first(tags, tiff_tags.FILL, 1) == 1:
        for strip in _strips(data, tags):
            _inflate(strip)
    elif compression == tiff_tags.PACKBITS and tiff_tags.STRIPS in tags and places(tags):
        unpacked, height = sum(map(_unpacked, _strips(data, tags))), first(tags, tiff_tags.HEIGHT, 0)
        rows = min(first(tags, tiff_tags.ROWS, height), height) or 1
        # some programs complete the last strip
        whole = [_line(tags) * height, _line(tags) * -(-height // rows) * rows]
        if unpacked not in whole:
            raise Broken(f"its strips hold {unpacked} bytes of pixels, not {whole[0]}")


def _strips(data: bytes, tags: Tags) -> Iterator[bytes]:
    """The coded bytes of those that are there. Errors: Broken where one lies outside the file."""
    for place, size in places(tags):
        if place + size > len(data):
            raise Broken("a strip lies outside the file")
        if size:
            yield data[place : place + size]


def _inflate(strip: bytes) -> None:
    """Errors: Broken."""
    stream = zlib.decompressobj()
    try:
        while strip and not stream.eof:
            stream.decompress(strip, 1 << 20)
            strip = stream.unconsumed_tail
    except zlib.error as error:
        raise Broken(str(error)) from error
    if not stream.eof:
        raise Broken("a strip is cut short")


def _unpacked(strip: bytes) -> int:
    """Bytes that PackBits (TIFF 6.0, section 9) makes of these."""
    at = total = 0
    while at < len(strip):
        count = strip[at]
        total += 0 if count == 128 else count + 1 if count < 128 else 257 - count
        at += count + 2 if count < 128 else 1 if count == 128 else 2
    return total


def _line(tags: Tags) -> int:
    """Bytes of a row of pixels, of all planes together."""
    bits = tags.get(tiff_tags.BITS) or (1,)
    bits = bits * first(tags, tiff_tags.CHANNELS, 1) if len(bits) == 1 else bits
    planes = bits if first(tags, tiff_tags.PLANAR, 1) == 2 else (sum(bits),)
    return sum(-(-first(tags, tiff_tags.WIDTH, 0) * each // 8) for each in planes)
