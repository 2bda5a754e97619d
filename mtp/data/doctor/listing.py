"""What a data set says of itself, before anyone looks at a picture."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mtp.data import exclusions, faults, splits
from mtp.data.faults import Fault
from mtp.data.schema import SPLITS
from mtp.data.votes import table as votes_csv
from mtp.data.votes.table import Table
from mtp.files import walked
from mtp.names import shown

Rows = Sequence[Mapping[str, str]]
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif", ".heic"})


@dataclasses.dataclass(frozen=True)
class Listing:
    """N pictures that are there, and what is wrong with the labels.

    form: what kind of data set it is, for people. folder: where `excluded.csv` belongs.
    images: names as in `Dataset.images`, sorted. votes: (N, K), zeros where a row's votes cannot be used.
    splits, groups: as in `Dataset`; a split that cannot be stands as train.
    faults: of the labels, and pictures that are missing. excluded: pictures left out already, and why.
    read: a picture's bytes; OSError. stamp: a text that changes when the picture's file does. file_name: of the
    picture's file, "" where it has none of its own.
    known_broken: pictures that no copy of the data set has whole. remarks: harmless oddities, a line each.
    """

    name: str
    form: str
    folder: Path
    images: tuple[str, ...]
    votes: np.ndarray
    splits: tuple[str, ...]
    groups: tuple[str, ...] | None
    faults: tuple[Fault, ...]
    excluded: Mapping[str, str]
    read: Callable[[str], bytes]
    stamp: Callable[[str], str]
    file_name: Callable[[str], str]
    known_broken: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


def votes_folder(folder: Path, csv: str, group: str) -> Listing:
    """A folder as `votes.load` reads it. Errors: DataError where there is no CSV or its header cannot be."""
    excluded = exclusions.read(folder)
    table = votes_csv.read(folder, csv, group, excluded)
    absent = {fault.image for fault in table.faults if fault.kind is faults.MISSING}
    outside = {fault.image for fault in table.faults if fault.kind is faults.BAD_ROW}
    rows = [row for row in table.rows if row["image"] not in absent | outside]
    column = table.columns.group
    groups = tuple(row[column] or row["image"] for row in rows) if column else None
    names = tuple(row["image"] for row in rows)
    named = [*names, *excluded, *(fault.image for fault in table.faults)]
    return Listing(
        name=folder.resolve().name,
        form="votes folder",
        folder=folder,
        images=names,
        votes=_votes(table, rows),
        splits=_splits(table, rows, groups or names),
        groups=groups,
        faults=(*table.faults, *_strays(folder, named)),
        excluded=excluded,
        read=lambda name: votes_csv.find(folder, name).read_bytes(),
        stamp=lambda name: file_stamp(votes_csv.find(folder, name)),
        file_name=lambda name: name,
    )


def _splits(table: Table, rows: Rows, keys: Sequence[str]) -> tuple[str, ...]:
    if "split" not in table.columns.header:
        return splits.by_hash(keys)
    return tuple(row["split"] if row["split"] in SPLITS else "train" for row in rows)


def _votes(table: Table, rows: Rows) -> np.ndarray:
    bad = {fault.image for fault in table.faults if fault.kind is faults.BAD_VOTES}
    counts = [[0 if row["image"] in bad else int(row[c]) for c in table.columns.votes] for row in rows]
    return np.array(counts, np.int64).reshape(len(rows), len(table.columns.votes))


def _strays(folder: Path, named: Sequence[str]) -> list[Fault]:
    known = {votes_csv.find(folder, name) for name in named if votes_csv.can_be_a_path(name)}
    files = sorted(path for path in walked(folder) if path.suffix.lower() in SUFFIXES and path not in known)
    # a name that is no UTF-8 cannot be written into a report
    names = [shown(path.relative_to(folder).as_posix()) for path in files]
    return [Fault(faults.STRAY_PICTURE, name, "no row names it") for name in names]


def file_stamp(path: Path) -> str:
    """Place, size and time of change."""
    status = path.stat()
    return f"{os.path.abspath(path)} {status.st_size} {status.st_mtime_ns}"
