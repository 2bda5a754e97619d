"""What a user's AVA download holds, read and checked before anything is built from it."""

import dataclasses
import functools
import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mtp.data import exclusions
from mtp.data.ava import files as ava_files
from mtp.data.ava import label_formats
from mtp.data.ava import pictures as ava_pictures
from mtp.data.ava.files import STYLES, Package
from mtp.data.ava.label_formats import Labels
from mtp.data.ava.shards import Picture, Shard
from mtp.data.ava.table import Table
from mtp.data.schema import DataError
from mtp.names import shown

MISSING = "no file"
# of the published package; a complete AVA.txt whose lists differ was fetched in part
PUBLISHED = {
    "rows of votes": 255_530,
    "tags": 66,
    "names of challenges": 1_398,
    "style labels for training": 11_270,
    "style labels for testing": 2_809,
    "style test pictures without a label": 236,
    "ids in generic_test": 20_000,
    "ids in generic_test without a row": 70,
    "ids in generic_ls_train without a row": 76,
    "ids in generic_ss_train without a row": 5,
    "style training pictures in generic_test": 951,
    "style test pictures in generic_test": 221,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """labels and package as read; places: id -> (file, row of a parquet file or -1) of the pictures at hand.

    max_skipped: largest share of rows whose picture may be missing or unusable.
    """

    folder: Path
    labels: Labels
    package: Package
    places: Mapping[int, tuple[str, int]]
    remarks: Sequence[str]
    max_skipped: float

    @functools.cached_property
    def missing(self) -> np.ndarray:
        """Ids with votes and no picture."""
        ids = self.labels.rows.ids
        return ids[~np.isin(ids, np.fromiter(self.places, np.int64))]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all labels and of the names and lengths of the pictures."""
        digest = hashlib.sha256()
        rows, package = self.labels.rows, self.package
        for array in (rows.ids, rows.votes, rows.tags, rows.challenges, *self._styles(rows.ids)):
            digest.update(np.ascontiguousarray(array).tobytes())
        for name, ids in sorted(package.lists.items()):
            digest.update(name.encode() + ids.tobytes())
        digest.update(repr((sorted(package.tags.items()), sorted(package.challenges.items()))).encode())
        for key, (file, row) in sorted(self.places.items()):
            digest.update(f"{key} {row if row >= 0 else os.path.getsize(file)}\n".encode())
        return digest.hexdigest()

    @property
    def bytes(self) -> int:
        """Of all picture files that will be copied."""
        return sum(os.path.getsize(file) for file in {file for file, _ in self.places.values()})

    def jobs(self, size: int) -> list[list[Picture]]:
        """The pictures to write, in the order of their ids (of a parquet export: of its rows), cut into shards."""
        rows = self.labels.rows
        train, test = self._styles(rows.ids)
        part = np.where((train >= 0).all(axis=1), 1, np.where((test >= 0).all(axis=1), 2, 0))
        style = np.where((part == 1)[:, None], train, test)
        order = sorted(
            (i for i, key in enumerate(rows.ids.tolist()) if key in self.places),
            key=lambda i: (
                (*self.places[int(rows.ids[i])], rows.ids[i]) if self.labels.places else rows.ids[i]
            ),
        )
        pictures = [
            Picture(
                int(rows.ids[i]),
                tuple(rows.votes[i].tolist()),
                tuple(rows.tags[i].tolist()),
                int(rows.challenges[i]),
                tuple(style[i].tolist()),
                ("none", "train", "test")[part[i]],
                *self.places[int(rows.ids[i])],
            )
            for i in order
        ]
        return [pictures[start : start + size] for start in range(0, len(pictures), size)]

    def check_lost(self, lost: Sequence[Mapping[int, str]]) -> None:
        """Errors: DataError where more rows than `max_skipped` allows have no usable picture, naming some.

        Pictures in the source's excluded.csv are left out on purpose and do not count.
        """
        excluded = exclusions.read(self.folder)
        missing = [key for key in self.missing.tolist() if str(key) not in excluded]
        unusable = [
            f"{key}: {why}" for found in lost for key, why in found.items() if str(key) not in excluded
        ]
        total, rows = len(missing) + len(unusable), len(self.labels.rows)
        if total > self.max_skipped * rows:
            named = [*unusable[:10], *(f"{key}: {MISSING}" for key in missing[:5])]
            raise DataError(
                f"{self.folder}: {total} of {rows} rows of votes have no usable picture ({len(missing)} without "
                f"a file, {len(unusable)} unusable); complete the download, or accept it with "
                f"--max_skipped={math.ceil(1000 * total / rows) / 1000}\n  " + "\n  ".join(named)
            )

    def table(self, shards: Sequence[Shard]) -> Table:
        """The table of the records that were written."""
        ids = np.concatenate([shard.ids for shard in shards])
        rows, package = self.labels.rows, self.package
        order = np.argsort(rows.ids)
        at = order[np.searchsorted(rows.ids, ids, sorter=order)]
        train, test = self._styles(ids)
        lost = {int(key): MISSING for key in self.missing}
        for shard in shards:
            lost |= {int(key): why for key, why in shard.lost.items()}
        lost = dict(sorted(lost.items()))
        kinds = sum((Counter(shard.kinds) for shard in shards), Counter())
        names = package.styles.names if package.styles else ()
        return Table(
            ids=ids,
            votes=rows.votes[at].astype(np.int32),
            tags=rows.tags[at].astype(np.uint8),
            challenges=rows.challenges[at].astype(np.int32),
            sizes=np.concatenate([shard.sizes for shard in shards]),
            hashes=np.concatenate([shard.hashes for shard in shards]),
            styles_train=train[:, : len(names)],
            styles_test=test[:, : len(names)],
            style_names=np.array(names, np.str_),
            tag_ids=np.array(list(package.tags), np.int64),
            tag_names=np.array(list(package.tags.values()), np.str_),
            challenge_ids=np.array(list(package.challenges), np.int64),
            challenge_names=np.array(list(package.challenges.values()), np.str_),
            lost_ids=np.array(list(lost), np.int64),
            lost_reasons=np.array(list(lost.values()), np.str_),
            kind_names=np.array(list(kinds), np.str_),
            kind_counts=np.array(list(kinds.values()), np.int64),
            fingerprint=self.fingerprint,
            lists=package.lists,
            means_only=self.labels.means_only,
        )

    def counts(self) -> dict[str, int]:
        """What was found, under the names of `PUBLISHED`."""
        rows, package, styles = self.labels.rows, self.package, self.package.styles
        found = {
            "rows of votes": len(rows),
            "tags": len(package.tags),
            "names of challenges": len(package.challenges),
        }
        empty = np.zeros(0, np.int64)
        test = package.lists.get("generic_test", empty)
        if styles:
            found |= {
                "style labels for training": len(styles.train),
                "style labels for testing": len(styles.test),
                "style test pictures without a label": int((styles.test.sum(axis=1) == 0).sum()),
                "style training pictures in generic_test": int(np.isin(styles.train_ids, test).sum()),
                "style test pictures in generic_test": int(np.isin(styles.test_ids, test).sum()),
            }
        for name in ("generic_test", "generic_ls_train", "generic_ss_train"):
            if name in package.lists:
                found[f"ids in {name} without a row"] = len(
                    ava_files.without_row(package.lists[name], rows.ids)
                )
        if "generic_test" in package.lists:
            found["ids in generic_test"] = len(test)
        return found

    def _styles(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 14) int8 labels of the style lists for training and for testing, -1 where an id is not in the list."""
        styles = self.package.styles
        if styles is None:
            nothing = np.full((len(ids), STYLES), -1, np.int8)
            return nothing, nothing
        return _at(ids, styles.train_ids, styles.train), _at(ids, styles.test_ids, styles.test)


def _at(ids: np.ndarray, listed: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, 14) int8: the label of each id, -1 where it is not listed."""
    place = {key: i for i, key in enumerate(listed.tolist())}
    at = np.array([place.get(key, -1) for key in ids.tolist()], np.int64)
    return np.where(at[:, None] >= 0, labels[at], -1).astype(np.int8)


def read(
    folder: Path,
    labels: Path | None = None,
    images: Path | None = None,
    max_skipped: float = 0.001,
    means_only: bool = False,
) -> Source:
    """Labels, lists and places of the pictures; pictures without a row of votes are counted in a remark.

    Errors: DataError where there is no label file, or it has bad rows (all named).
    """
    if not folder.is_dir():
        raise DataError(f"--source must be the folder of an AVA download; {folder} is none")
    path = labels or ava_files.find(folder, "AVA.txt") or _only_parquet(folder)
    if path is None or not path.exists():
        raise DataError(
            f"{folder} must hold AVA.txt (also in a folder of it), or --labels must name a label file; "
            f"{'there is no ' + str(labels) if labels else 'there is none'}"
        )
    found = label_formats.read(path, means_only=means_only)
    ava_files.insist(path, found.faults, found.unit)
    package = ava_files.read_package(folder)
    remarks = [*found.remarks, *package.remarks, *(f"{name} is not there" for name in package.absent)]
    if found.places:
        keys = found.rows.ids.tolist()
        places = {key: (str(file), row) for key, (file, row) in zip(keys, found.places, strict=True)}
        return Source(folder, found, package, places, remarks, max_skipped)
    pictures = ava_pictures.find_pictures(images or folder)
    known = set(found.rows.ids.tolist())
    places = {key: (str(file), -1) for key, file in pictures.paths.items() if key in known}
    others = len(pictures.paths) - len(places)
    if others:
        remarks.append(f"{others} pictures have no row of votes and are not used")
    if pictures.repeated:
        key, files = next(iter(pictures.repeated.items()))
        remarks.append(
            f"{len(pictures.repeated)} ids have several files; of {key} {shown(str(files[0]))} is used"
        )
    if pictures.strays:
        remarks.append(
            f"{len(pictures.strays)} pictures have no id as name, the first is {shown(str(pictures.strays[0]))}"
        )
    return Source(folder, found, package, places, remarks, max_skipped)


def _only_parquet(folder: Path) -> Path | None:
    return folder if next(folder.rglob("*.parquet"), None) else None
