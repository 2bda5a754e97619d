"""The scans of a JPEG: where their coded data ends, and what strict decoding does not see of damage in them."""

import re
from collections.abc import Iterator

import numpy as np

from mtp.data.formats.jpeg_header import EOI, SOS, Frame, Part
from mtp.data.formats.stored import Broken

DHT = 0xC4
# a marker within coded data: neither a stuffed byte, nor a restart, nor a fill byte
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
GAP = 32  # zeros that are no coded picture
END_OF_BLOCK, STANDARD = 0x00, 0x01  # values of a Huffman table


def check(data: bytes, parts: list[Part], start: int, frame: Frame) -> None:
    """start: of the first scan. Errors: Broken."""
    if frame.progressive or data[start + 4] < len(frame.components):
        _insist_on_all_scans(data, start, frame)
    elif frame.sequential:
        _insist_on_no_gap(data, parts, start)


def scans(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
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
    end = next(scans(data, start))[0]
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
    for _, parameters in scans(data, start):
        count = parameters[0] if parameters else 0
        if len(parameters) < 4 + 2 * count:
            raise Broken("a scan's header is cut short")
        first, last, low = parameters[-3], parameters[-2], parameters[-1] & 15
        if not frame.progressive:
            first, last, low = 0, 63, 0
        for name in parameters[1 : 1 + 2 * count : 2]:
            if name in missing:
                missing[name][first : last + 1] = low
    if any(bits.any() for bits in missing.values()):
        raise Broken("some of its scans are missing")
