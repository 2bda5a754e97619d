"""The partitions of a VP8 key frame, as WebP has one: their number stands in a header that is arithmetically coded."""

from collections.abc import Iterator

START = 10  # bytes of the frame's tag, start code and size, before the first partition


class _Header:
    """The first partition's bits, each as likely 0 as 1 (RFC 6386, section 7); zeros behind its end."""

    def __init__(self, data: bytes):
        self._data, self._next, self._range = data, 2, 255
        self._value = int.from_bytes(data[:2].ljust(2, b"\0"))
        self._bits = 0

    def bit(self) -> int:
        split = 1 + ((self._range - 1) * 128 >> 8)
        found = self._value >= split << 8
        if found:
            self._value -= split << 8
            self._range -= split
        else:
            self._range = split
        while self._range < 128:
            self._value <<= 1
            self._range <<= 1
            self._bits += 1
            if self._bits == 8:
                self._bits = 0
                self._value |= self._data[self._next] if self._next < len(self._data) else 0
                self._next += 1
        return int(found)

    def number(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = 2 * value + self.bit()
        return value

    def skip_given(self, count: int, bits: int) -> None:
        """So many values of so many bits, each behind a bit that says whether it is there."""
        for _ in range(count):
            if self.bit():
                self.number(bits)


def partitions(coded: bytes) -> int:
    """1, 2, 4 or 8 partitions of coefficients (RFC 6386, section 9.2 to 9.5)."""
    first = int.from_bytes(coded[:3], "little") >> 5
    header = _Header(coded[START : START + first])
    header.number(2)  # colour space, clamping
    if header.bit():  # segments
        with_map, with_data = header.bit(), header.bit()
        if with_data:
            header.bit()
            header.skip_given(4, 8)
            header.skip_given(4, 7)
        if with_map:
            header.skip_given(3, 8)
    header.number(10)  # of the loop filter
    if header.bit() and header.bit():
        header.skip_given(8, 7)
    return 1 << header.number(2)


def shortened(coded: bytes, spare: int) -> Iterator[bytes]:
    """The frame without the last `spare` bytes of one partition of coefficients, for each that is long enough."""
    count = partitions(coded)
    table = START + (int.from_bytes(coded[:3], "little") >> 5)
    at = table + 3 * (count - 1)
    for number in range(count):
        place = table + 3 * number
        last = number == count - 1
        size = len(coded) - at if last else int.from_bytes(coded[place : place + 3], "little")
        if size > 2 * spare:
            listed = b"" if last else (size - spare).to_bytes(3, "little")
            rest = coded[place + len(listed) : at + size - spare] + coded[at + size :]
            yield coded[:place] + listed + rest
        at += size
