"""votes.csv row by row: what stands in it, and a fault for everything that must not; nothing is raised for a row."""

import dataclasses
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from mtp.data import csv_text, faults
from mtp.data.csv_text import Line
from mtp.data.faults import Fault, Kind
from mtp.data.schema import SPLITS, DataError

DIGITS = 9  # of a count of raters: sums of counts stay whole numbers in float64
NAME_BYTES, PATH_BYTES = 255, 4095  # the longest name of a file, and the longest path
SHOWN = 60  # characters of a cell in a message


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where things stand in the CSV: K vote columns, style columns by name, the rest metadata."""

    header: tuple[str, ...]
    votes: tuple[str, ...]
    styles: tuple[str, ...]
    group: str | None

    @property
    def metadata(self) -> tuple[str, ...]:
        known = {"image", "split", "style", *self.votes, *self.styles}
        return tuple(name for name in self.header if name not in known)


@dataclasses.dataclass(frozen=True)
class Table:
    """A CSV of votes.

    rows: cells by column name, sorted by image, one row an image: those with as many cells as the header and
    an image. faults: what is wrong with them and with the other rows; a row may stand in both. left_out: excluded
    rows, which are in neither.
    """

    path: Path
    columns: Columns
    rows: tuple[Mapping[str, str], ...]
    faults: tuple[Fault, ...]
    left_out: int


def read(folder: Path, csv: str, group: str, excluded: Collection[str]) -> Table:
    """The table without the pictures in `excluded`; group: the column whose values never cross splits.

    csv: the table's path in the folder; pictures are named from the folder, too.
    Errors: DataError where there is no such file or its header cannot be.
    """
    path = folder / csv
    if not path.is_file():
        raise DataError(f"{path} must be a CSV file with columns image,c1..cK; there is no such file")
    header, lines = _rows(path)
    columns = _columns(path, header, group)
    found: list[Fault] = []
    first: dict[str, tuple[int, Mapping[str, str]]] = {}
    left_out = 0
    for line in lines:
        row = {name: cell.strip() for name, cell in zip(header, line.cells, strict=False)}
        image = row.get("image", "")
        if image in excluded:
            left_out += 1
            continue
        found += _row_faults(folder, columns, row, line)
        if image in first:
            text = f"image {quoted(image)} stands in line {first[image][0]} already; keep one"
            found.append(Fault(faults.REPEATED_ROW, image, text, f"line {line.number}"))
        elif image and len(line.cells) == len(header):
            first[image] = line.number, row
    return Table(path, columns, tuple(first[image][1] for image in sorted(first)), tuple(found), left_out)


def _rows(path: Path) -> tuple[tuple[str, ...], Sequence[Line]]:
    rows = csv_text.rows(csv_text.decoded(path.read_bytes(), path), path)
    if len(rows) < 2:
        raise DataError(f"{path} must have a header and at least one picture; it has {len(rows)} lines")
    return tuple(name.strip() for name in rows[0].cells), rows[1:]


def _columns(path: Path, header: tuple[str, ...], group: str) -> Columns:
    ratings = 0
    while f"c{ratings + 1}" in header:
        ratings += 1
    numbered = {name for name in header if name[:1] == "c" and name[1:].isdigit()}
    votes = tuple(f"c{k}" for k in range(1, ratings + 1))
    styles = tuple(name for name in header if name.startswith("style_"))
    if "image" not in header or ratings < 2 or numbered != set(votes):
        raise DataError(
            f"{path}: the header must name the columns image,c1,c2,..,cK without a gap (K >= 2), not {','.join(header)}"
        )
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: every column name must be unique; repeated: {', '.join(repeated)}")
    if styles and "style" in header:
        raise DataError(f"{path}: give styles either in a column style or in columns style_*, not in both")
    # "group" is the default, used where it exists; any other name was asked for
    if group not in header and group != "group":
        raise DataError(f"{path} has no column {group!r} (data.group); it has {', '.join(header)}")
    return Columns(header, votes, styles, group if group in header else None)


def _row_faults(folder: Path, columns: Columns, row: Mapping[str, str], line: Line) -> Iterator[Fault]:
    image, place = row.get("image", ""), f"line {line.number}"
    if len(line.cells) != len(columns.header):
        detail = f"{len(line.cells)} cells, the header has {len(columns.header)}"
        if line.last > line.number:
            detail += f"; a quotation mark opens here and closes in line {line.last}: remove it"
        yield Fault(faults.BAD_ROW, image, detail, place)
        return
    for kind, problem in _problems(folder, columns, row):
        yield Fault(kind, image, problem, place)


def _problems(folder: Path, columns: Columns, row: Mapping[str, str]) -> Iterator[tuple[Kind, str]]:
    wrong = [f"{c} = {quoted(row[c])}" for c in columns.votes if not _is_count(row[c])]
    if wrong:
        most = f"{10**DIGITS - 1:,}"
        yield faults.BAD_VOTES, f"votes must be whole numbers of raters, 0 to {most}; {', '.join(wrong)}"
    elif not any(int(row[c]) for c in columns.votes):
        yield faults.NO_VOTES, "a picture needs at least one vote; all are 0. Remove the line"
    image = row["image"]
    if not can_be_a_path(image):
        yield faults.BAD_ROW, f"image must be a path inside the folder; it is {quoted(image)}"
    elif not image or not find(folder, image).is_file():
        hint = _like(folder, image)
        yield faults.MISSING, f"no picture {image!r} in {folder} or {folder / 'images'}{hint}"
    split = row.get("split", "train")
    if split not in SPLITS:
        yield faults.BAD_SPLIT, f"split must be one of {', '.join(SPLITS)}; it is {quoted(split)}"
    wrong = [f"{c} = {quoted(row[c])}" for c in columns.styles if row[c] not in ("", "0", "1")]
    if wrong:
        yield faults.BAD_STYLE, f"style columns hold 0 or 1 (all empty: not labelled); {', '.join(wrong)}"
    elif len({bool(row[c]) for c in columns.styles}) > 1:
        yield faults.BAD_STYLE, "style columns must be all filled or all empty (not labelled)"


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text.lstrip("0")) <= DIGITS


def can_be_a_path(image: str) -> bool:
    """Whether a file inside the folder can be called so; an empty name is missing."""
    parts = [len(part.encode("utf-8", "surrogatepass")) for part in Path(image).parts]
    return (
        "\0" not in image
        and ".." not in Path(image).parts
        and not Path(image).is_absolute()
        and max(parts, default=0) <= NAME_BYTES
        and sum(parts) + len(parts) <= PATH_BYTES
    )


def _like(folder: Path, image: str) -> str:
    """A hint, where the picture is there under a name that only looks the same or is written otherwise."""
    if not image:
        return ""
    others = {
        "with / for \\": image.replace("\\", "/"),
        "in another Unicode form (NFC)": unicodedata.normalize("NFC", image),
        "in another Unicode form (NFD)": unicodedata.normalize("NFD", image),
        "in small letters": image.lower(),
        "with its ending in small letters": str(Path(image).with_suffix(Path(image).suffix.lower())),
        "with its ending in capitals": str(Path(image).with_suffix(Path(image).suffix.upper())),
    }
    for how, name in others.items():
        if name != image and can_be_a_path(name) and find(folder, name).is_file():
            return f"; it is there {how}: write the name as the file has it"
    return ""


def quoted(cell: str) -> str:
    """A cell in quotation marks, its end left out where it is long."""
    return repr(cell) if len(cell) <= SHOWN else f"{cell[:SHOWN]!r}.. ({len(cell)} characters)"


def find(folder: Path, image: str) -> Path:
    """The picture's file: named from the folder itself, or from its images/."""
    direct = folder / image
    return direct if direct.is_file() else folder / "images" / image
