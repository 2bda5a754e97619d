"""JPEG, decoded strictly: libjpeg goes on after damage and only warns of it; here the first such warning refuses.

What it warns of and does no harm to pixels (what lies beside them, zeros before the end, no mark at the end) is taken
away, and the rest is decoded strictly once more.
"""

import dataclasses
import io
import re
import struct
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import Image, JpegImagePlugin

from mtp.data.formats import exif
from mtp.data.formats.stored import Broken, Stored, Unsupported

DHT, EOI, SOS, APP0, APP1, APP14 = 0xC4, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
HUFFMAN = {0xC0: 2, 0xC1: 2, 0xC2: 1}  # frame -> bits that each of its blocks takes at least
PROGRESSIVE = (0xC2, 0xCA)
XMP = b"http://ns.adobe.com/xap/1.0/\0"
# a marker within coded data: neither a stuffed byte, nor a restart, nor a fill byte
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# how simplejpeg says that a file may be whole and it cannot decode it
LIMITS = ("Unsupported", "Could not determine")
GAP = 32  # zeros that are no coded picture
END_OF_BLOCK, STANDARD = 0x00, 0x01  # a Huffman table's values
PADDING = 3  # zeros before the end mark that may still be coded data


@dataclasses.dataclass(frozen=True)
class Part:
    """A segment of a header: bytes from its marker to its end, and its content without marker and length."""

    marker: int
    whole: bytes

    @property
    def content(self) -> bytes:
        return self.whole[4:]


@dataclasses.dataclass(frozen=True)
class Frame:
    """kind: the marker of the frame. components: id -> sampling factors, across and down, in the frame's order."""

    kind: int
    bits: int
    height: int
    width: int
    components: dict[int, tuple[int, int]]

    def blocks(self) -> int:
        """8x8 blocks of all components."""
        across = max(h for h, _ in self.components.values())
        down = max(v for _, v in self.components.values())
        return sum(
            -(-self.width * h // (8 * across)) * -(-self.height * v // (8 * down))
            for h, v in self.components.values()
        )


def read(data: bytes) -> Stored:
    """Errors: Broken where the header is not whole, or the file too short for its pixels; Unsupported."""
    parts, scans = _header(data)
    frame = _frame(parts)
    least = HUFFMAN.get(frame.kind, 0) * frame.blocks()
    if 8 * len(data) < least:
        raise Broken(f"{len(data)} bytes cannot hold {frame.width}x{frame.height} pixels")
    blocks = [p.content for p in parts if p.marker == APP1]
    block = b"".join(b.removeprefix(exif.PREFIX) for b in blocks if b.startswith(exif.PREFIX))
    texts = [b.removeprefix(XMP) for b in blocks if b.startswith(XMP)]
    orientation, whole = exif.read(block, texts[-1] if texts else None)
    return Stored(
        format="JPEG",
        height=frame.height,
        width=frame.width,
        mode={1: "L", 3: "RGB", 4: "CMYK"}[len(frame.components)],
        orientation=orientation,
        exif_whole=whole,
        load=lambda side: _decoded(data, parts, scans, frame, side),
    )


def _header(data: bytes) -> tuple[list[Part], int]:
    """The segments before the first scan, and where that begins."""
    parts, at = [], 2
    while True:
        at = data.find(b"\xff", at)
        while 0 <= at < len(data) - 1 and data[at + 1] == 0xFF:
            at += 1
        if at < 0 or at + 4 > len(data):
            raise Broken("it ends within its header")
        marker = data[at + 1]
        if marker == SOS:
            return parts, at
        if marker in ALONE or marker == 0:
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker == EOI or end < at + 4 or end > len(data):
            raise Broken("it ends within its header")
        parts.append(Part(marker, data[at:end]))
        at = end


def _frame(parts: list[Part]) -> Frame:
    found = [part for part in parts if part.marker in FRAMES]
    if not found or len(found[0].content) < 6:
        raise Broken("its header has no size")
    content = found[0].content
    bits, height, width, count = struct.unpack_from(">BHHB", content)
    if len(content) < 6 + 3 * count or not height or not width:
        raise Broken("its header has no size")
    kind = found[0].marker
    if bits != 8 or count not in (1, 3, 4) or kind not in (*HUFFMAN, 0xC3, 0xC9, 0xCA):
        raise Unsupported(f"this is a JPEG of {count} channels of {bits} bits, process {kind - 0xC0}; export it as a "
                          "JPEG of 8 bits, or as PNG")  # fmt: skip
    components = {
        content[6 + 3 * n]: (content[7 + 3 * n] >> 4 or 1, content[7 + 3 * n] & 15 or 1) for n in range(count)
    }
    if len(components) < count:
        raise Broken("its header names a channel twice")
    return Frame(kind, bits, height, width, components)


def _decoded(data: bytes, parts: list[Part], start: int, frame: Frame, side: int) -> Image.Image | np.ndarray:
    """Errors: Broken, Unsupported."""
    if frame.kind in PROGRESSIVE or data[start + 4] < len(frame.components):
        _insist_on_all_scans(data, start, frame)
    elif frame.kind in (0xC0, 0xC1):
        _insist_on_no_gap(data, parts, start)
    try:
        pixels = _strict(data, frame, side)
    except ValueError as error:
        if any(limit in str(error) for limit in LIMITS):
            return _by_pillow(_clean(data, parts, start, 0), side)
        pixels = _once_more(data, parts, start, frame, side, str(error))
    # of four channels Pillow knows what the numbers mean
    return pixels if len(frame.components) < 4 else _by_pillow(_clean(data, parts, start, 0), side)


def _strict(data: bytes, frame: Frame, side: int) -> np.ndarray:
    """Called with a side, at a half, a fourth or an eighth where that is enough. Errors: ValueError at a warning."""
    colours = "CMYK" if len(frame.components) == 4 else "RGB"
    # of fifths and the like copies of other sizes would look less alike
    part = next((n for n in (8, 4, 2) if side and min(frame.height, frame.width) >= n * side), 1)
    least = {"min_height": -(-frame.height // part), "min_width": -(-frame.width // part)} if part > 1 else {}
    return simplejpeg.decode_jpeg(data, colours, strict=True, **least)


def _once_more(data: bytes, parts: list[Part], start: int, frame: Frame, side: int, first: str) -> np.ndarray:
    """Without what does no harm; first: what was said of the file as it is."""
    for zeros in range(PADDING + 1):
        try:
            return _strict(_clean(data, parts, start, zeros), frame, side)
        except ValueError:
            continue
    raise Broken(first)


def _by_pillow(clean: bytes, side: int) -> Image.Image:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(clean))
    if side:
        image.draft(None, (side, side))
    image.load()
    return image


def _clean(data: bytes, parts: list[Part], start: int, zeros: int) -> bytes:
    """What pixels are made of, with an end mark; of the zeros before it at most so many."""
    end = max((place for place, _ in _scans(data, start)), default=len(data))
    coded = data[start:end].rstrip(b"\0")
    zeros += coded.endswith(b"\xff")  # a stuffed byte is no padding
    coded = data[start : min(end, start + len(coded) + zeros)]
    kept = [_known_revision(p) for p in parts if p.marker < APP0 or p.marker == APP14 or _is_jfif(p)]
    return b"\xff\xd8" + b"".join(kept) + coded + b"\xff\xd9"


def _is_jfif(part: Part) -> bool:
    return part.marker == APP0 and part.content.startswith(b"JFIF\0")


def _known_revision(part: Part) -> bytes:
    """JFIF as revision 1, since another one is warned of."""
    return part.whole[:9] + b"\1" + part.whole[10:] if _is_jfif(part) else part.whole


def _scans(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Of each scan where its coded data ends, and its parameters."""
    at, parameters = start, b""
    while True:
        marker = data[at + 1 : at + 2]
        size = int.from_bytes(data[at + 2 : at + 4])
        if marker == bytes([SOS]):
            parameters = data[at + 4 : at + 2 + size]
        match = MARKER.search(data, at + 2 + size)
        end = match.start() if match else len(data)
        if marker == bytes([SOS]):
            yield end, parameters
        if match is None or data[end + 1] == EOI:
            return
        at = end


def _insist_on_no_gap(data: bytes, parts: list[Part], start: int) -> None:
    """Errors: Broken where zeros lie within the coded data, as where a disk or a transfer lost a block.

    The code of zeros alone is that of the most frequent coefficient. Where it ends a block, zeros are flat blocks and
    honest. Else they are block after block of the lowest value in every frequency, which no picture is; as many blocks
    as were lost, in one case of ten, which strict decoding then does not see.
    """
    place = data.find(bytes(GAP), start)
    if place < 0 or _code_of_zeros(data, parts, start) == END_OF_BLOCK:
        return
    end = next(_scans(data, start))[0]
    behind = len(data) - len(data[place:].lstrip(b"\0"))
    if behind < end:
        raise Broken(f"{behind - place} zeros lie within its coded data")


def _code_of_zeros(data: bytes, parts: list[Part], start: int) -> int:
    """What the code of zeros alone means among the first channel's coefficients: run of zeros and size, F.1.2.2."""
    table = data[start + 6] & 15
    # of a file without tables the standard's
    meaning = STANDARD
    for part in parts:
        content = part.content if part.marker == DHT else b""
        while len(content) > 17:
            if content[0] == 0x10 | table:
                meaning = content[17]
            content = content[17 + sum(content[1:17]) :]
    return meaning


def _insist_on_all_scans(data: bytes, start: int, frame: Frame) -> None:
    """Errors: Broken where a channel's coefficients do not come to their last bit: the file was cut between scans."""
    missing = {name: np.full(64, -1) for name in frame.components}
    for _, parameters in _scans(data, start):
        count = parameters[0] if parameters else 0
        if len(parameters) < 4 + 2 * count:
            raise Broken("a scan's header is cut short")
        first, last, low = parameters[-3], parameters[-2], parameters[-1] & 15
        if frame.kind not in PROGRESSIVE:
            first, last, low = 0, 63, 0
        for name in parameters[1 : 1 + 2 * count : 2]:
            if name in missing:
                missing[name][first : last + 1] = low
    if any(bits.any() for bits in missing.values()):
        raise Broken("some of its scans are missing")
