"""AVA as a download and as a built set, for the doctor: rows, lists, styles and where the pictures lie."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mtp.data import exclusions, faults
from mtp.data.ava import files as ava_files
from mtp.data.ava import load as ava_load
from mtp.data.ava import pictures as ava_pictures
from mtp.data.ava import splits as ava_splits
from mtp.data.ava import table as ava_table
from mtp.data.ava.files import KNOWN_BROKEN, RATINGS
from mtp.data.doctor.listing import Listing, file_stamp
from mtp.data.faults import Fault
from mtp.data.schema import Dataset

BROKEN = frozenset(map(str, KNOWN_BROKEN))


def source(folder: Path, split: str) -> Listing | None:
    """A download that holds AVA.txt, under a named split; None where it holds none.

    Errors: DataError where a list of the package cannot be read, or the split's lists are not there.
    """
    path = ava_files.find(folder, "AVA.txt")
    if path is None:
        return None
    data = path.read_bytes()
    rows, bad = ava_files.parse_rows(data)
    package, pictures = ava_files.read_package(folder), ava_pictures.find_pictures(folder)
    excluded = exclusions.read(folder)
    kept = np.array([str(key) not in excluded for key in rows.ids.tolist()], bool)
    there = kept & np.isin(rows.ids, np.fromiter(pictures.paths, np.int64, len(pictures.paths)))
    place = np.flatnonzero(there)[np.argsort(rows.ids[there].astype(str))]
    ids = rows.ids[place]
    assignment = ava_splits.assign(
        split, ids, rows.challenges[place], package.lists, seed=0, folder="", known=rows.ids
    )
    parts = dict(zip(ids.tolist(), assignment.names, strict=True))
    paths = {str(key): pictures.paths[key] for key in ids.tolist()}
    styles = package.styles
    nothing = np.zeros(0, np.int64)
    found = [
        *(Fault(faults.BAD_ROW, "", fault.message, f"{path.name} line {fault.line}") for fault in bad),
        *_missing(rows.ids[kept & ~there]),
        *_unlisted(package.lists, rows.ids),
        *_strays(pictures, rows.ids),
        *_style_faults(
            styles.train_ids if styles else nothing,
            styles.test_ids[styles.test.sum(axis=1) == 0] if styles else nothing,
            parts,
        ),
    ]
    return Listing(
        name=folder.resolve().name,
        form="AVA download",
        folder=folder,
        images=tuple(map(str, ids.tolist())),
        votes=rows.votes[place].reshape(-1, RATINGS),
        splits=assignment.names,
        groups=None,
        faults=tuple(found),
        excluded=excluded,
        read=lambda name: paths[name].read_bytes(),
        stamp=lambda name: file_stamp(paths[name]),
        file_name=lambda name: paths[name].name,
        known_broken=BROKEN,
        remarks=(
            *ava_files.remarks(data, path.name),
            *package.remarks,
            *assignment.remarks,
            *(f"{name} is not there" for name in package.absent),
        ),
    )


def built(folder: Path, split: str) -> Listing | None:
    """A set that python -m mtp.data.ava built in `folder`, under a named split; None where there is none.

    Errors: DataError where the set is not whole, or the split's lists are not there.
    """
    if not any(folder.glob(f"ava/*/{ava_table.NAME}")):
        return None
    table = ava_table.load(ava_load.built_in(folder) / ava_table.NAME)
    # small pictures are the doctor's to find
    data = ava_load.load(folder, split=split, enlarge=True)
    place = {image: number for number, image in enumerate(data.images)}
    parts = {int(image): part for image, part in zip(data.images, data.splits, strict=True)}
    styled, tested = (labels.max(axis=1, initial=-1) for labels in (table.styles_train, table.styles_test))
    found = [
        *(
            Fault(faults.LOST, str(key), reason)
            for key, reason in zip(table.lost_ids.tolist(), table.lost_reasons.tolist(), strict=True)
        ),
        *_unlisted(table.lists, np.concatenate([table.ids, table.lost_ids])),
        *_style_faults(table.ids[styled >= 0], table.ids[tested == 0], parts),
    ]
    return Listing(
        name=folder.resolve().name,
        form="built AVA set",
        folder=folder,
        images=data.images,
        votes=data.votes,
        splits=data.splits,
        groups=None,
        faults=tuple(found),
        excluded=exclusions.read(folder),
        read=lambda name: _read(data, place[name]),
        stamp=lambda name: table.fingerprint,
        file_name=lambda name: "",
        known_broken=BROKEN,
    )


def _read(data: Dataset, index: int) -> bytes:
    """Errors: OSError where the record is damaged."""
    try:
        return data.read(index)
    except RuntimeError as error:
        raise OSError(f"its record is damaged: {error}") from error


def _missing(ids: np.ndarray) -> Iterator[Fault]:
    for image in map(str, ids.tolist()):
        kind = faults.KNOWN_BROKEN if image in BROKEN else faults.MISSING
        yield Fault(kind, image, f"no file {image}.jpg")


def _unlisted(lists: Mapping[str, np.ndarray], known: np.ndarray) -> Iterator[Fault]:
    """Ids of lists that no row of votes has, each once with all its lists."""
    found: dict[int, list[str]] = {}
    for name, ids in lists.items():
        for key in ava_files.without_row(ids, known).tolist():
            found.setdefault(key, []).append(name)
    for key, names in found.items():
        yield Fault(faults.ID_WITHOUT_ROW, str(key), f"in {', '.join(names)}")


def _strays(pictures: ava_pictures.Pictures, known: np.ndarray) -> Iterator[Fault]:
    rows = set(known.tolist())
    for key, path in pictures.paths.items():
        if key not in rows:
            yield Fault(faults.STRAY_PICTURE, path.name, f"no row of id {key}")
    for key, paths in pictures.repeated.items():
        for path in paths[1:]:
            yield Fault(
                faults.STRAY_PICTURE, path.name, f"{path} beside {paths[0]}, which is taken for id {key}"
            )
    for path in pictures.strays:
        yield Fault(faults.STRAY_PICTURE, path.name, "its name is no id")


def _style_faults(styled: np.ndarray, plain: np.ndarray, parts: Mapping[int, str]) -> Iterator[Fault]:
    """styled: ids of the style training list; plain: those of the style test list without a style."""
    for key in styled.tolist():
        if parts.get(key) in ("validation", "test"):
            yield Fault(faults.STYLE_LEAK, str(key), f"in {parts[key]}")
    for key in plain.tolist():
        if key in parts:
            yield Fault(faults.STYLE_WITHOUT_LABEL, str(key), "in the style test list")
