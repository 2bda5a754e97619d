"""A folder of pictures with a CSV of votes: image,c1..cK[,split][,group][,style or style_* columns]."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mtp.data import images, splits
from mtp.data.schema import SPLITS, DataError, Dataset

MIN_SIDE = 32  # pixels; below it NASNet's last map would be empty
SHOWN = 20  # bad rows named in an error


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


def load(
    folder: Path,
    *,
    csv: str = "votes.csv",
    group: str = "group",
    folds: int = 0,
    fold: int = 0,
    seed: int = 0,
    max_skipped: float = 0.0,
    enlarge: bool = False,
    max_pixels: int = 100_000_000,
) -> Dataset:
    """The pictures and votes of a folder (options: `data` in config.py).

    Errors: DataError that names every bad row (line, value, mend) and every picture that cannot be read.
    """
    path = Path(folder) / csv
    if not path.is_file():
        raise DataError(f"{path} must be a CSV file with columns image,c1..cK; there is no such file")
    header, lines = _rows(path)
    columns = _columns(path, header, group)
    rows = _checked(path, columns, lines)
    rows, sizes, skipped = _measured(Path(folder), rows, max_skipped, enlarge, max_pixels)
    names = tuple(row["image"] for row in rows)
    groups = tuple(row[columns.group] or row["image"] for row in rows) if columns.group else None
    style_names, styles = _styles(columns, rows)
    return Dataset(
        name=Path(folder).resolve().name,
        images=names,
        votes=np.array([[int(row[c]) for c in columns.votes] for row in rows], np.int64),
        sizes=sizes,
        splits=_splits(path, columns, rows, groups, folds, fold, seed),
        groups=groups,
        styles=styles,
        style_names=style_names,
        metadata={name: tuple(row[name] for row in rows) for name in columns.metadata},
        read=lambda index: _find(Path(folder), names[index]).read_bytes(),
        skipped=skipped,
    )


def _rows(path: Path) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        rows = [(reader.line_num, row) for row in reader if row]
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


def _checked(path: Path, columns: Columns, lines: Sequence[tuple[int, list[str]]]) -> list[dict[str, str]]:
    """Rows as dicts, sorted by image; every bad one named in one error."""
    problems, rows, seen = [], [], {}
    for line, cells in lines:
        if len(cells) != len(columns.header):
            problems.append(f"line {line}: {len(cells)} cells, the header has {len(columns.header)}")
            continue
        row = {name: cell.strip() for name, cell in zip(columns.header, cells, strict=True)}
        found = _row_problems(path.parent, columns, row)
        if row["image"] in seen:
            found.append(f"image {row['image']!r} stands in line {seen[row['image']]} already; keep one")
        seen.setdefault(row["image"], line)
        problems += [f"line {line}: {problem}" for problem in found]
        rows.append(row)
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError(f"{path}: {len(problems)} problems\n  " + "\n  ".join(problems[:SHOWN]) + more)
    return sorted(rows, key=lambda row: row["image"])


def _row_problems(folder: Path, columns: Columns, row: Mapping[str, str]) -> list[str]:
    problems = []
    votes = [row[c] for c in columns.votes]
    wrong = [f"{c} = {v!r}" for c, v in zip(columns.votes, votes, strict=True) if not _is_count(v)]
    if wrong:
        problems.append(f"votes must be whole numbers of raters, 0 or more; {', '.join(wrong)}")
    elif not sum(map(int, votes)):
        problems.append("a picture needs at least one vote; all are 0. Remove the line")
    if ".." in Path(row["image"]).parts or Path(row["image"]).is_absolute():
        problems.append(f"image must be a path inside the folder; it is {row['image']!r}")
    elif not row["image"] or not _find(folder, row["image"]).is_file():
        problems.append(f"no picture {row['image']!r} in {folder} or {folder / 'images'}")
    split = row.get("split", "train")
    if split not in SPLITS:
        problems.append(f"split must be one of {', '.join(SPLITS)}; it is {split!r}")
    wrong = [f"{c} = {row[c]!r}" for c in columns.styles if row[c] not in ("", "0", "1")]
    filled = {bool(row[c]) for c in columns.styles}
    if wrong:
        problems.append(f"style columns hold 0 or 1 (all empty: not labelled); {', '.join(wrong)}")
    elif len(filled) > 1:
        problems.append("style columns must be all filled or all empty (not labelled)")
    return problems


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _find(folder: Path, image: str) -> Path:
    """The picture's file: named from the folder itself, or from its images/."""
    direct = folder / image
    return direct if direct.is_file() else folder / "images" / image


def _measured(
    folder: Path, rows: list[dict[str, str]], max_skipped: float, enlarge: bool, max_pixels: int
) -> tuple[list[dict[str, str]], np.ndarray, tuple[str, ...]]:
    """Rows whose picture can be opened, their sizes (N, 2), and a message for each one left out."""

    def measure(row: dict[str, str]) -> tuple[int, int] | str:
        name = row["image"]
        try:
            height, width = images.upright_size(_find(folder, name).read_bytes(), name, max_pixels)
        except images.ImageError as error:
            return str(error)
        if min(height, width) < MIN_SIDE and not enlarge:
            return f"{name}: {width}x{height} pixels; sides must be at least {MIN_SIDE} (or set data.enlarge)"
        return height, width

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(measure, rows))
    problems = tuple(f for f in found if isinstance(f, str))
    if len(problems) > max_skipped * len(rows):
        raise DataError(
            f"{folder}: {len(problems)} of {len(rows)} pictures cannot be used; mend or remove them, or raise "
            f"data.max_skipped = {max_skipped:g}\n  " + "\n  ".join(problems[:SHOWN])
        )
    good = [(row, size) for row, size in zip(rows, found, strict=True) if not isinstance(size, str)]
    return [row for row, _ in good], np.array([size for _, size in good], np.int32), problems


def _styles(columns: Columns, rows: Sequence[Mapping[str, str]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Style names, and (N, S) of 0 and 1 with rows of NaN where there is no label."""
    if columns.styles:
        cells = [[float(row[c]) if row[c] else np.nan for c in columns.styles] for row in rows]
        return tuple(c.removeprefix("style_") for c in columns.styles), np.array(cells, np.float32)
    named = [[s.strip() for s in row.get("style", "").split(";") if s.strip()] for row in rows]
    names = tuple(sorted({style for styles in named for style in styles}))
    labels = np.full((len(rows), len(names)), np.nan, np.float32)
    for label, styles in zip(labels, named, strict=True):
        if styles:
            label[:] = [name in styles for name in names]
    return names, labels


def _splits(
    path: Path,
    columns: Columns,
    rows: Sequence[Mapping[str, str]],
    groups: tuple[str, ...] | None,
    folds: int,
    fold: int,
    seed: int,
) -> tuple[str, ...]:
    keys = groups or tuple(row["image"] for row in rows)
    if folds:
        return splits.k_fold(keys, folds, fold, seed)
    if "split" not in columns.header:
        return splits.by_hash(keys)
    given = tuple(row["split"] for row in rows)
    torn = splits.torn_groups(given, groups) if groups else {}
    if torn:
        group, names = next(iter(torn.items()))
        raise DataError(
            f"{path}: a group must lie in one split; {len(torn)} do not, the first is {group!r} in {', '.join(names)}"
        )
    return given
