"""A folder of pictures with a CSV of votes: image,c1..cK[,split][,group][,style or style_* columns]."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mtp.data import exclusions, images, splits
from mtp.data.schema import MIN_SIDE, DataError, Dataset, enlarged_notes, exif_notes
from mtp.data.votes import table as votes_csv
from mtp.data.votes.table import Columns, Table
from mtp.names import shown

SHOWN = 20  # bad rows named in an error


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
    """The pictures and votes of a folder (options: `data` in docs/options.md).

    Errors: DataError that names every bad row (line, value, fix) and every picture that cannot be read.
    """
    table = votes_csv.read(Path(folder), csv, group, exclusions.read(Path(folder)))
    _insist(table)
    columns, rows = table.columns, table.rows
    rows, sizes, skipped = _measured(Path(folder), rows, max_skipped, enlarge, max_pixels)
    names = tuple(row["image"] for row in rows)
    groups = tuple(row[columns.group] or row["image"] for row in rows) if columns.group else None
    style_names, styles = _styles(columns, rows)
    return Dataset(
        name=Path(folder).resolve().name,
        images=names,
        votes=np.array([[int(row[c]) for c in columns.votes] for row in rows], np.int64),
        sizes=sizes,
        splits=_splits(table.path, columns, rows, groups, folds, fold, seed),
        groups=groups,
        styles=styles,
        style_names=style_names,
        metadata={name: tuple(row[name] for row in rows) for name in columns.metadata},
        read=lambda index: votes_csv.find(Path(folder), names[index]).read_bytes(),
        skipped=skipped if not table.left_out else (exclusions.announcement(table.left_out), *skipped),
    )


def _insist(table: Table) -> None:
    """Every bad row named in one error."""
    found = table.faults
    if found:
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise DataError(
            f"{table.path}: {len(found)} problems\n  " + "\n  ".join(map(str, found[:SHOWN])) + more
        )
    if not table.rows:
        raise DataError(f"{table.path}: every picture is excluded by {exclusions.NAME}; nothing is left")


def _measured(
    folder: Path, rows: Sequence[Mapping[str, str]], max_skipped: float, enlarge: bool, max_pixels: int
) -> tuple[list[Mapping[str, str]], np.ndarray, tuple[str, ...]]:
    """Rows whose picture can be used, their sizes (N, 2), and a message for each one left out.

    Where none may be left out only headers are read; decoding finds the rest, and stops the run.
    """
    look = images.inspect if max_skipped else images.header

    def measure(row: Mapping[str, str]) -> images.Header | str:
        name = row["image"]
        try:
            found = look(votes_csv.find(folder, name).read_bytes(), name, max_pixels)
        except images.ImageError as error:
            return str(error)
        except OSError as error:
            return (
                f"{shown(name)}: the file cannot be read ({error.strerror}); fix its permissions, or the disk"
            )
        if min(found.height, found.width) < MIN_SIDE and not enlarge:
            return (
                f"{shown(name)}: {found.width}x{found.height} pixels; sides must be at least {MIN_SIDE} (or set "
                "data.enlarge)"
            )
        # without the small picture of an inspection
        return images.Header(found.height, found.width, found.exif_whole)

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(measure, rows))
    problems = tuple(f for f in found if isinstance(f, str))
    if len(problems) > max_skipped * len(rows):
        raise DataError(
            f"{folder}: {len(problems)} of {len(rows)} pictures cannot be used; fix or remove them, or raise "
            f"data.max_skipped = {max_skipped:g}\n  " + "\n  ".join(problems[:SHOWN])
        )
    good = [(row, header) for row, header in zip(rows, found, strict=True) if not isinstance(header, str)]
    sizes = np.array([(header.height, header.width) for _, header in good], np.int32).reshape(-1, 2)
    damaged = [row["image"] for row, header in good if not header.exif_whole]
    return [row for row, _ in good], sizes, (*problems, *exif_notes(damaged), *enlarged_notes(sizes))


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
