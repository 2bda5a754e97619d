"""The small table beside the records: all that is known of a built set's pictures, without their bytes."""

import csv
import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtp import files
from mtp.data.schema import DataError
from mtp.names import harmless

NAME = "labels.npz"
LEFT_OUT = "left_out.csv"
_LIST = "list/"  # prefix of the id lists among the arrays of the file


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A row a record, in the records' order.

    ids (N,) int64; votes (N, 10) int32; tags (N, 2) uint8, 0 for none; challenges (N,) int32; sizes (N, 2) int32,
    height and width upright; hashes (N,) uint64, the first 64 bits of SHA-256 of the picture's bytes.
    styles_train, styles_test: (N, S) int8 of 0 and 1, -1 where the picture is not in that list. style_names: (S,).
    tag_ids, tag_names, challenge_ids, challenge_names: as in the official package, where it was there.
    lost_ids, lost_reasons: rows of votes whose picture is missing or cannot be used. kind_names, kind_counts: format
    and mode of pictures that are no plain RGB JPEG. lists: name -> ids. means_only: votes tell their means only.
    """

    ids: np.ndarray
    votes: np.ndarray
    tags: np.ndarray
    challenges: np.ndarray
    sizes: np.ndarray
    hashes: np.ndarray
    styles_train: np.ndarray
    styles_test: np.ndarray
    style_names: np.ndarray
    tag_ids: np.ndarray
    tag_names: np.ndarray
    challenge_ids: np.ndarray
    challenge_names: np.ndarray
    lost_ids: np.ndarray
    lost_reasons: np.ndarray
    kind_names: np.ndarray
    kind_counts: np.ndarray
    fingerprint: str
    lists: Mapping[str, np.ndarray]
    means_only: bool = False

    def __len__(self) -> int:
        return len(self.ids)


def save(path: Path, table: Table) -> None:
    """Uncompressed, so that it is read at the disk's speed."""
    arrays = {f.name: getattr(table, f.name) for f in dataclasses.fields(table) if f.name != "lists"}
    arrays |= {_LIST + name: ids for name, ids in table.lists.items()}
    files.write_arrays(path, arrays)


def write_left_out(path: Path, table: Table) -> None:
    """image,reason: the rows of votes without a usable picture, for people to read."""
    with files.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "reason"))
        reasons = map(harmless, table.lost_reasons.tolist())
        writer.writerows(zip(table.lost_ids.tolist(), reasons, strict=True))


def load(path: Path) -> Table:
    """Errors: DataError where the file is not there or not whole."""
    if not path.is_file():
        raise DataError(
            f"{path} must lie beside the records of a built set; build it with python -m mtp.data.ava"
        )
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}); remove its folder and build the set again") from error
    lists = {k.removeprefix(_LIST): arrays.pop(k) for k in list(arrays) if k.startswith(_LIST)}
    arrays["fingerprint"] = str(arrays["fingerprint"])
    arrays["means_only"] = bool(arrays.get("means_only", False))
    return Table(**arrays, lists=lists)
