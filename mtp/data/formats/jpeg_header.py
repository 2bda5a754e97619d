"""The segments of a JPEG before its first scan, and the frame that they describe (ITU-T T.81, annex B)."""

import dataclasses
import struct

from mtp.data.formats.stored import Broken, Unsupported

EOI, SOS = 0xD9, 0xDA
ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, ARITHMETIC, ARITHMETIC_PROGRESSIVE = (
    0xC0,
    0xC1,
    0xC2,
    0xC3,
    0xC9,
    0xCA,
)
READ = (BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, ARITHMETIC, ARITHMETIC_PROGRESSIVE)
HUFFMAN = {BASELINE: 2, EXTENDED: 2, PROGRESSIVE: 1}  # bits that each block of such a frame takes at least


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

    @property
    def progressive(self) -> bool:
        return self.kind in (PROGRESSIVE, ARITHMETIC_PROGRESSIVE)

    @property
    def sequential(self) -> bool:
        """Huffman-coded in one go."""
        return self.kind in (BASELINE, EXTENDED)

    @property
    def least(self) -> int:
        """Bits that the pixels take at least."""
        return HUFFMAN.get(self.kind, 0) * self.blocks()

    def blocks(self) -> int:
        """8x8 blocks of all components."""
        across = max(h for h, _ in self.components.values())
        down = max(v for _, v in self.components.values())
        return sum(
            -(-self.width * h // (8 * across)) * -(-self.height * v // (8 * down))
            for h, v in self.components.values()
        )


def header(data: bytes) -> tuple[list[Part], int]:
    """The segments before the first scan, and where that begins. Errors: Broken."""
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


def frame(parts: list[Part]) -> Frame:
    """Errors: Broken, Unsupported."""
    found = [part for part in parts if part.marker in FRAMES]
    if not found or len(found[0].content) < 6:
        raise Broken("its header has no size")
    content = found[0].content
    bits, height, width, count = struct.unpack_from(">BHHB", content)
    if len(content) < 6 + 3 * count or not height or not width:
        raise Broken("its header has no size")
    kind = found[0].marker
    if bits != 8 or count not in (1, 3, 4) or kind not in READ:
        raise Unsupported(f"this is a JPEG of {count} channels of {bits} bits, process {kind - 0xC0}; export it as a "
                          "JPEG of 8 bits, or as PNG")  # fmt: skip
    components = {
        content[6 + 3 * n]: (content[7 + 3 * n] >> 4 or 1, content[7 + 3 * n] & 15 or 1) for n in range(count)
    }
    if len(components) < count:
        raise Broken("its header names a channel twice")
    return Frame(kind, bits, height, width, components)
