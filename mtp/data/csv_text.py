"""CSV files that people write: text in UTF-8, cells parted by commas. What came instead is named."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

from mtp.data.errors import DataError

MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "strokes"}


class Line(NamedTuple):
    """A row of a CSV file. number: of the line where it begins, from 1; last: of the one where it ends."""

    number: int
    last: int
    cells: list[str]


def decoded(data: bytes, path: Path) -> str:
    """The text of a file in UTF-8, without byte order marks. Errors: DataError naming what it is instead."""
    # text in UTF-16 without a mark has a zero in each second byte
    if data.startswith(UTF_16) or data[:64].count(0) > len(data[:64]) // 4 > 0:
        raise DataError(f"{path} must be text in UTF-8; it is UTF-16. Save it as CSV UTF-8")
    data = unmarked(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} must be text in UTF-8; byte {data[error.start]:#x} in line {line} is none, likely Windows-1252 or "
            "Latin-1. Save it as CSV UTF-8"
        ) from error


def unmarked(data: bytes) -> bytes:
    """Without the byte order marks that programs have put before it, one each."""
    while data.startswith(MARK):
        data = data.removeprefix(MARK)
    return data


def rows(text: str, path: Path) -> list[Line]:
    """Every line that is not blank; a row may go over several lines within quotation marks.

    Errors: DataError where a quotation mark stands astray, or the first line's cells are parted by something else.
    """
    found, begun = [], 1
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                found.append(Line(begun, reader.line_num, cells))
            begun = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}: line {begun}: a quotation mark stands alone or within a cell ({error}); remove it, or write it "
            "twice in a cell that stands in quotation marks"
        ) from error
    if found:
        _check_separator(found[0].cells, path)
    return found


def _check_separator(first: list[str], path: Path) -> None:
    if len(first) > 1:
        return
    for sign, name in OTHER_SEPARATORS.items():
        if sign in first[0]:
            raise DataError(
                f"{path}: cells must be parted by commas; the first line has {name}: {first[0][:60]!r}. Save it with "
                "commas"
            )
