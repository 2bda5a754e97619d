"""The shapes in which people hold AVA's labels, told apart by what is in the file; all become the same rows.

| shape | known from |
|---|---|
| AVA.txt: 15 columns, spaces | the official package |
| JSON [{"image_id", "label": [10 counts]}] | idealo/image-quality-assessment |
| JSON [{"image", "gt_score"}]: means only, for mean-only training | Q-Align |
| CSV image_id, score2..score11, tag1..tag3: score2 counts rating 1, tag3 the challenge | TANet, ReLIC, truskovskiyk |
| CSV of 11 columns, id and 10 counts, with or without a header | yunxiaoshi |
| CSV img_name, ..., c1..c10, semantic_tag1, semantic_tag2 | IQA-PyTorch's meta file |
| CSV image_num, vote_1..vote_10 | exports on Kaggle |
| parquet image_id, image, rating_counts[10] | exports on Hugging Face |
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtp.data import csv_text, means
from mtp.data.ava import files as ava_files
from mtp.data.ava import parquet
from mtp.data.ava.files import RATINGS, Fault, Rows
from mtp.data.schema import DataError

ID_COLUMNS = ("image_id", "image_num", "img_name", "image_name", "image", "id")
COUNTS = tuple(
    tuple(f"{stem}{k + shift}" for k in range(1, RATINGS + 1))
    for stem, shift in (("score", 1), ("c", 0), ("vote_", 0), ("rating_", 0))
)
EXTRAS = (("tag1", "tag2", "tag3"), ("semantic_tag1", "semantic_tag2"))
# whole numbers as text; no id and no count has more digits
NUMBER = re.compile(rf"-?\d{{1,{ava_files.DIGITS}}}(\.0*)?")
ID = re.compile(rf"(?:.*[/\\])?(\d{{1,{ava_files.DIGITS}}})(?:\.0*|\.(?:jpg|jpeg|png|webp))?", re.IGNORECASE)
MEAN_COLUMNS = {"gt_score", "mos", "mean", "mean_score", "score"}
MEANS_ONLY = (
    "this file has the mean rating of each picture only. The histogram of its ratings is needed: it is what the "
    "network learns, and no mean tells it. Give AVA.txt or another file with ten counts (--labels), and use this one "
    "as a list of ids (data.split=lists); or build with --means_only and train on the means alone, with "
    "--config.loss.target=mean --config.loss.reliability=none"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """shape: which of the table above. faults count in `unit`s ("line", "entry", "row").

    places: of each row (parquet file, row in it) where the pictures lie in the label file itself; else empty.
    means_only: the rows' votes tell their means only (`means.votes`).
    """

    shape: str
    rows: Rows
    faults: Sequence[Fault]
    unit: str
    remarks: Sequence[str] = ()
    places: Sequence[tuple[Path, int]] = ()
    means_only: bool = False


def read(path: Path, *, means_only: bool = False) -> Labels:
    """The labels of a file, or of a folder of parquet files; bad rows are faults, not errors.

    means_only: of a file that has nothing else.
    Errors: DataError where the shape is none of the known ones, has means only and these are not asked for, or has
    counts and they are.
    """
    if not means_only:
        return _counted(path)
    found = _means(path)
    if found is None:
        raise DataError(f"{path} is no JSON or CSV file with a mean rating alone; leave --means_only out")
    return found


def _counted(path: Path) -> Labels:
    if path.is_dir():
        return _parquet(sorted(path.rglob("*.parquet")), path)
    data = path.read_bytes()
    if not data.strip():
        raise DataError(f"{path}: the file is empty; fetch it again")
    if data[:4] == b"PAR1":
        return _parquet([path], path)
    data = csv_text.decoded(data, path).encode()
    start = data.lstrip()[:200]
    if start[:1] == b"<":
        raise DataError(
            f"{path}: this is a web page, not a label file (a dead link answers so); fetch it again"
        )
    if start[:1] in b"[{":
        return _json(path, data)
    # of a header without commas `csv_text` says what parts its cells
    if b"," in start.splitlines()[0] or re.search(rb"[A-Za-z].*[;\t|]", start.splitlines()[0]):
        return _csv(path, data)
    rows, faults = ava_files.parse_rows(data)
    return Labels("AVA.txt", rows, faults, "line", ava_files.remarks(data, path.name))


def ids_in(path: Path) -> np.ndarray:
    """The ids that a list or label file of any known shape names, in its order, repeated ones once.

    Of CSV and JSON the id column, of other text the first word of a line ("28456.jpg 0").
    Errors: DataError where a line names no id.
    """
    data = csv_text.decoded(path.read_bytes(), path).encode()
    start = data.lstrip()[:200]
    first = start.splitlines()[0] if start else b""
    if start[:1] in (b"[", b"{") and start:
        cells = [entry.get("image_id", entry.get("image", "")) for entry in _entries(path, data)]
    elif b"," in first:
        header, body = _csv_rows(path, data)
        column = _id_column(path, header) if header else 0
        cells = [cells[column] for _, cells in body]
    else:
        cells = [line.split()[0].decode(errors="replace") for _, line in ava_files.lines(data)]
        # AVA.txt itself, whole or cut in pieces: the id is its second column
        if len(first.split()) == ava_files.COLUMNS:
            cells = [line.split()[1].decode(errors="replace") for _, line in ava_files.lines(data)]
    found = [_id(cell) for cell in cells]
    wrong = [(i, cell) for i, (cell, key) in enumerate(zip(cells, found, strict=True), 1) if key is None]
    if wrong or not found:
        what = (
            f"entry {wrong[0][0]} is {str(wrong[0][1])[:60]!r}{rounded(wrong[0][1])}"
            if wrong
            else "it names none"
        )
        raise DataError(f"{path}: a list names one AVA id an entry; {what}")
    return np.array(list(dict.fromkeys(found)), np.int64)


def _entries(path: Path, data: bytes) -> list[Mapping[str, Any]]:
    try:
        entries = json.loads(csv_text.decoded(data, path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: this is not whole JSON ({error}); fetch it again") from error
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise DataError(f"{path}: the JSON must be a list of objects, one a picture")
    return entries


def _json(path: Path, data: bytes) -> Labels:
    entries = _entries(path, data)
    if "label" not in entries[0] and MEAN_COLUMNS & set(entries[0]):
        raise DataError(f"{path}: {MEANS_ONLY}")
    if not {"image_id", "label"} <= set(entries[0]):
        raise DataError(
            f'{path}: an entry must be {{"image_id": .., "label": [10 counts]}}; the first has {sorted(entries[0])}'
        )
    faults, good = [], []
    for number, entry in enumerate(entries, 1):
        counts = entry.get("label")
        cells = [entry.get("image_id"), *counts] if isinstance(counts, list) else []
        row = _whole(cells, 1 + RATINGS)
        if row is None:
            faults.append(
                Fault(number, f"an entry has an id and {RATINGS} whole numbers; it is {str(entry)[:80]}")
            )
        else:
            good.append((number, row))
    return _labels("idealo JSON", good, 0, faults, "entry")


def _means(path: Path) -> Labels | None:
    """The means of a JSON or CSV file that has no counts; None of any other file."""
    data = b"" if path.is_dir() else path.read_bytes()
    start = csv_text.unmarked(data).lstrip()[:1]
    if start == b"[":
        entries = _entries(path, data)
        header, unit = list(entries[0]), "entry"
        body = [(i, [entry.get(name) for name in header]) for i, entry in enumerate(entries, 1)]
    elif start and b"," in data:
        (header, body), unit = _csv_rows(path, data), "line"
    else:
        return None
    column = next((i for i, name in enumerate(header) if name.lower() in MEAN_COLUMNS), None)
    if column is None or "label" in header or any(set(names) <= set(header) for names in COUNTS):
        return None
    key = _id_column(path, header)
    faults, good = [], []
    for number, cells in body:
        mean = _mean([cells[key], cells[column]] if len(cells) == len(header) else [])
        if mean is None:
            faults.append(Fault(number, f"an id and a mean rating in 1..{RATINGS}; it is {str(cells)[:80]}"))
        else:
            good.append((number, mean))
    counts = means.votes(np.array([mean for _, (_, mean) in good]), RATINGS)
    rows = [(n, (name, *row)) for (n, (name, _)), row in zip(good, counts.tolist(), strict=True)]
    found = _labels(f"means of {header[column]}", rows, 0, faults, unit)
    return dataclasses.replace(found, means_only=True)


def _mean(cells: Sequence[Any]) -> tuple[int, float] | None:
    """Id (or a file's name) and mean rating, or None."""
    try:
        name, mean = cells
        key, found = _id(name), float(mean)
    except (TypeError, ValueError):
        return None
    return (key, found) if key is not None and 1 <= found <= RATINGS else None


def _csv(path: Path, data: bytes) -> Labels:
    header, body = _csv_rows(path, data)
    if header:
        columns, extras, shape = _columns(path, header)
    else:
        columns, extras, shape = list(range(1 + RATINGS)), 0, "CSV of 11 columns"
    width = len(header) or 1 + RATINGS
    faults, good = [], []
    for number, cells in body:
        row = _whole([cells[c] for c in columns], len(columns)) if len(cells) == width else None
        if len(cells) != width:
            faults.append(Fault(number, f"a row has {width} cells, this one has {len(cells)}"))
        elif row is None:
            given = f"{','.join(cells)[:80]!r}{rounded(cells[columns[0]])}"
            faults.append(Fault(number, f"an id and {RATINGS} whole numbers; {given}"))
        else:
            good.append((number, row))
    return _labels(shape, good, extras, faults, "line", ava_files.remarks(data, path.name))


def _csv_rows(path: Path, data: bytes) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, empty where the first line is numbers already, and (line, cells) of the others."""
    lines = csv_text.rows(csv_text.decoded(data, path), path)
    stripped = [(line.number, [cell.strip() for cell in line.cells]) for line in lines]
    rows = [(number, cells) for number, cells in stripped if any(cells)]
    if _whole(rows[0][1], len(rows[0][1])) is not None:
        return [], rows
    return rows[0][1], rows[1:]


def _id_column(path: Path, header: Sequence[str]) -> int:
    for name in ID_COLUMNS:
        if name in header:
            return header.index(name)
    raise DataError(f"{path}: no column with the id ({', '.join(ID_COLUMNS)}); it has {', '.join(header)}")


def _columns(path: Path, header: Sequence[str]) -> tuple[list[int], int, str]:
    """Positions of id, ten counts and the tags and challenge there are; how many of the latter; the shape's name."""
    key = _id_column(path, header)
    family = next((names for names in COUNTS if set(names) <= set(header)), None)
    if family is None and len(header) == 1 + RATINGS and key == 0:
        counts, shape = list(range(1, 1 + RATINGS)), "CSV of 11 columns"
    elif family is None:
        if MEAN_COLUMNS & {name.lower() for name in header}:
            raise DataError(f"{path}: {MEANS_ONLY}")
        wanted = "; ".join(f"{names[0]}..{names[-1]}" for names in COUNTS)
        raise DataError(f"{path}: no columns with ten counts ({wanted}); it has {', '.join(header)}")
    else:
        counts, shape = [header.index(name) for name in family], f"CSV with {family[0]}..{family[-1]}"
    extras = next((names for names in EXTRAS if set(names) <= set(header)), ())
    return [key, *counts, *(header.index(name) for name in extras)], len(extras), shape


def _whole(cells: Sequence[Any], length: int) -> tuple[int, ...] | None:
    """Id and whole numbers ("17", 17 or "17.0"; an id may be a file's name), or None."""
    if len(cells) != length or not cells:
        return None
    texts = [str(cell).strip() for cell in cells[1:]]
    key = _id(cells[0])
    if key is None or not all(NUMBER.fullmatch(text) for text in texts):
        return None
    return (key, *(int(float(text)) for text in texts))


def _id(cell: Any) -> int | None:
    """The id in a cell: a whole number, or the name of a picture's file."""
    found = ID.fullmatch(str(cell).strip())
    return int(found[1]) if found else None


def rounded(cell: Any) -> str:
    """A hint, where a spreadsheet has written an id as 9.53619E+05."""
    if not re.fullmatch(r"\d(\.\d+)?[eE]\+?\d+", str(cell).strip()):
        return ""
    return ": a spreadsheet has rounded the ids; export them as text, or fetch the file again"


def _labels(
    shape: str,
    good: Sequence[tuple[int, tuple[int, ...]]],
    extras: int,
    faults: list[Fault],
    unit: str,
    remarks: Sequence[str] = (),
) -> Labels:
    table = np.array([row for _, row in good], np.int64).reshape(-1, 1 + RATINGS + extras)
    tags = np.zeros((len(table), 3), np.int64)
    tags[:, :extras] = table[:, 1 + RATINGS :]
    rows = ava_files.rows_of(table[:, 0], table[:, 1 : 1 + RATINGS], tags[:, :2], tags[:, 2])
    rows, faults = ava_files.checked(rows, [number for number, _ in good], faults, unit)
    return Labels(shape, rows, faults, unit, remarks)


def _parquet(paths: Sequence[Path], where: Path) -> Labels:
    if not paths:
        raise DataError(f"{where}: a label file was expected, or a folder of parquet files; it has none")
    ids: list[int] = []
    votes, places = [np.zeros((0, RATINGS), np.int64)], []
    for path in paths:
        found, counts = parquet.labels(path)
        ids += found
        votes.append(counts)
        places += [(path, row) for row in range(len(found))]
    zeros = np.zeros((len(ids), 3), np.int64)
    rows = ava_files.rows_of(np.array(ids, np.int64), np.concatenate(votes), zeros[:, :2], zeros[:, 2])
    kept, faults = ava_files.checked(rows, range(1, len(ids) + 1), [], "row")
    bad = {fault.line - 1 for fault in faults}
    places = [place for i, place in enumerate(places) if i not in bad]
    return Labels("parquet", kept, faults, "row", (), places)
