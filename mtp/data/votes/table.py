"""votes.csv row by row: what stands in it, and a fault for everything that must not; nothing is raised for a row."""

import csv
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from mtp.data import faults
from mtp.data.faults import Fault, Kind
from mtp.data.schema import SPLITS, DataError


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


def read(path: Path, group: str, excluded: Collection[str]) -> Table:
    """The table without the pictures in `excluded`; group: the column whose values never cross splits.

    Errors: DataError where there is no such file or its header cannot be.
    """
    if not path.is_file():
        raise DataError(f"{path} must be a CSV file with columns image,c1..cK; there is no such file")
    header, lines = _rows(path)
    columns = _columns(path, header, group)
    found: list[Fault] = []
    first: dict[str, tuple[int, Mapping[str, str]]] = {}
    left_out = 0
    for line, cells in lines:
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
        image = row.get("image", "")
        if image in excluded:
            left_out += 1
            continue
        found += _row_faults(path.parent, columns, row, len(cells), f"line {line}")
        if image in first:
            text = f"image {image!r} stands in line {first[image][0]} already; keep one"
            found.append(Fault(faults.REPEATED_ROW, image, text, f"line {line}"))
        elif image and len(cells) == len(header):
            first[image] = line, row
    return Table(path, columns, tuple(first[image][1] for image in sorted(first)), tuple(found), left_out)


def _rows(path: Path) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} must be text in UTF-8; byte {error.object[error.start]:#x} is none. Save it as CSV UTF-8"
        ) from error
    if len(rows) < 2:
        raise DataError(f"{path} must have a header and at least one picture; it has {len(rows)} lines")
    return tuple(name.strip() for name in rows[0][1]), rows[1:]


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


def _row_faults(
    folder: Path, columns: Columns, row: Mapping[str, str], cells: int, place: str
) -> Iterator[Fault]:
    image = row.get("image", "")
    if cells != len(columns.header):
        yield Fault(faults.BAD_ROW, image, f"{cells} cells, the header has {len(columns.header)}", place)
        return
    for kind, problem in _problems(folder, columns, row):
        yield Fault(kind, image, problem, place)


def _problems(folder: Path, columns: Columns, row: Mapping[str, str]) -> Iterator[tuple[Kind, str]]:
    wrong = [f"{c} = {row[c]!r}" for c in columns.votes if not _is_count(row[c])]
    if wrong:
        yield faults.BAD_VOTES, f"votes must be whole numbers of raters, 0 or more; {', '.join(wrong)}"
    elif not any(int(row[c]) for c in columns.votes):
        yield faults.NO_VOTES, "a picture needs at least one vote; all are 0. Remove the line"
    image = row["image"]
    if ".." in Path(image).parts or Path(image).is_absolute():
        yield faults.BAD_ROW, f"image must be a path inside the folder; it is {image!r}"
    elif not image or not find(folder, image).is_file():
        yield faults.MISSING, f"no picture {image!r} in {folder} or {folder / 'images'}"
    split = row.get("split", "train")
    if split not in SPLITS:
        yield faults.BAD_SPLIT, f"split must be one of {', '.join(SPLITS)}; it is {split!r}"
    wrong = [f"{c} = {row[c]!r}" for c in columns.styles if row[c] not in ("", "0", "1")]
    if wrong:
        yield faults.BAD_STYLE, f"style columns hold 0 or 1 (all empty: not labelled); {', '.join(wrong)}"
    elif len({bool(row[c]) for c in columns.styles}) > 1:
        yield faults.BAD_STYLE, "style columns must be all filled or all empty (not labelled)"


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit()


def find(folder: Path, image: str) -> Path:
    """The picture's file: named from the folder itself, or from its images/."""
    direct = folder / image
    return direct if direct.is_file() else folder / "images" / image
