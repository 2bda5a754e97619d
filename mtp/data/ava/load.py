"""A built AVA as a `Dataset`, from the table beside its records; pictures are read when they are asked for.

Style labels follow two protocols (Murray et al. 2012): the list for training has one of 14 styles a picture, the list
for testing none to four. A label of the first list trains where its picture is in the training split, else it is
dropped (951 pictures of the official test have one). Labels of the second never train; average precision is measured
on them. 236 of its pictures have no style: they are negatives of all 14, and the figures without them stand beside.

The AVA paper's sentence of counts gives Rule of Thirds 1,031, Shallow DOF 710, Silhouettes 1,389 and Soft Focus 1,479;
by the files these are 1,389, 1,479, 1,031 and 710 (training and test lists together hold 14,079 pictures, the training
list 80 % of each count). The four names are out of step with their numbers in that sentence only, so styles.txt holds:
its labels occur together as they should (Shallow DOF with Macro in 162 test pictures).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mtp.data import exclusions
from mtp.data.ava import files as ava_files
from mtp.data.ava import splits as ava_splits
from mtp.data.ava import table as ava_table
from mtp.data.ava.table import Table
from mtp.data.schema import MIN_SIDE, SPLITS, DataError, Dataset, enlarged_notes


class DamagedRecord(DataError, RuntimeError):
    """The records' checksum does not hold: a disk's fault, or a file cut short."""


def load(
    data_dir: Path, *, split: str = "", split_dir: str = "", seed: int = 0, enlarge: bool = False
) -> Dataset:
    """The set that python -m mtp.data.ava built in `data_dir`, under a named split (default: official).

    Errors: DataError where there is none, or a picture is too small; those of `ava_splits.assign`.
    """
    folder = built_in(data_dir)
    table = ava_table.load(folder / ava_table.NAME)
    excluded = exclusions.read(data_dir)
    names = np.array([str(key) for key in table.ids.tolist()])
    order = np.argsort(names)
    order = order[[name not in excluded for name in names[order].tolist()]]
    if not len(order):
        raise DataError(f"{data_dir}: every picture is left out by {exclusions.NAME}; remove lines from it")
    ids, sizes = table.ids[order], table.sizes[order]
    small = ids[sizes.min(axis=1) < MIN_SIDE]
    if len(small) and not enlarge:
        raise DataError(
            f"{data_dir}: {len(small)} pictures have a side under {MIN_SIDE} pixels (the first is {small[0]}); exclude "
            "them in excluded.csv, or set data.enlarge"
        )
    assignment = ava_splits.assign(
        split or "official",
        ids,
        table.challenges[order],
        table.lists,
        seed=seed,
        folder=split_dir,
        known=np.concatenate([table.ids, table.lost_ids]),
    )
    styles, style_tests = _styles(table, order, assignment.names)
    return Dataset(
        name="ava",
        images=tuple(names[order].tolist()),
        votes=table.votes[order].astype(np.int64),
        sizes=sizes,
        splits=assignment.names,
        groups=None,
        styles=styles,
        style_names=tuple(table.style_names.tolist()),
        metadata=_metadata(table, order),
        read=_reader(folder, order),
        skipped=(
            *assignment.remarks,
            *_left_out(folder, table, len(table) - len(order)),
            *enlarged_notes(sizes),
        ),
        style_tests=style_tests,
        hashes=table.hashes[order],
        means_only=table.means_only,
    )


def built_in(data_dir: Path) -> Path:
    """The folder of the newest built version. Errors: DataError where there is none."""
    found = sorted(path.parent for path in data_dir.glob(f"ava/*/{ava_table.NAME}"))
    found = [folder for folder in found if not folder.name.startswith("incomplete")]
    if not found:
        raise DataError(
            f"data.dir must be the --data_dir of a built AVA; {data_dir} holds none. Build it with "
            "python -m mtp.data.ava --source=DOWNLOAD --data_dir=DIR"
        )
    return found[-1]


def _styles(table: Table, order: np.ndarray, parts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(N, S) labels that may train and labels to be tested on, rows of NaN where there is none."""
    train, test = (labels[order].astype(np.float32) for labels in (table.styles_train, table.styles_test))
    outside = np.array(parts) != "train"
    train[(train < 0) | outside[:, None]] = np.nan
    test[test < 0] = np.nan
    return train, test


def _metadata(table: Table, order: np.ndarray) -> dict[str, tuple[str, ...]]:
    """challenge and tags by name where names are known, tags joined by ";"; the content category of the lists."""
    challenges = dict(zip(table.challenge_ids.tolist(), table.challenge_names.tolist(), strict=True))
    tags = dict(zip(table.tag_ids.tolist(), table.tag_names.tolist(), strict=True))
    category = {
        key: name
        for name in ava_files.CATEGORIES
        for part in ("train", "test")
        for key in table.lists.get(f"{name}_{part}", np.zeros(0, np.int64)).tolist()
    }
    numbers = table.challenges[order].tolist()
    return {
        "challenge": tuple(challenges.get(c, str(c)) if c else "" for c in numbers),
        "tags": tuple(
            ";".join(tags.get(t, str(t)) for t in pair if t) for pair in table.tags[order].tolist()
        ),
        "category": tuple(category.get(key, "") for key in table.ids[order].tolist()),
    }


def _left_out(folder: Path, table: Table, excluded: int) -> list[str]:
    lost = len(table.lost_ids)
    remarks = (
        [f"{lost:,} rows of votes have no usable picture, see {folder / ava_table.LEFT_OUT}"] if lost else []
    )
    return remarks + ([exclusions.announcement(excluded)] if excluded else [])


def _reader(folder: Path, order: np.ndarray) -> Callable[[int], bytes]:
    """index -> the picture file's bytes."""
    # Not at the top: other data sets need no TFDS. Not in the reading threads either: while it is imported it
    # replaces Python's import statement, and threads that compile meanwhile fail in theirs.
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    decoders = {"image": tfds.decode.SkipDecoding()}
    records: Any = builder.as_data_source(split="train", decoders=decoders)  # pyright: ignore[reportCallIssue]

    def read(index: int) -> bytes:
        try:
            return records[int(order[index])]["image"]
        except RuntimeError as error:
            raise DamagedRecord(
                f"a record in {folder} is damaged ({error}); remove the folder and build the set again"
            ) from error

    return read


def describe(dataset: Dataset) -> str:
    """Counts and hash of each part of a split, a line each."""
    lines = [
        f"{part:>10} {len(dataset.indices(part)):>8,}  sha256 {dataset.split_sha256(part)}" for part in SPLITS
    ]
    return "\n".join(lines)
