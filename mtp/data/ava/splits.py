"""AVA's named splits: which picture trains, validates, tests, or stands aside, by ids and challenges alone.

| name | training / validation / test |
|---|---|
| official | every other row / 5 % of them, whole challenges / generic_test (19,930 of its 20,000 ids have a row) |
| ls, ss | generic_ls_train, generic_ss_train / 5 % of it / generic_test (Murray et al. 2012) |
| animal .. stilllife | the category's 2,500 / 5 % of them / its 2,500 (Murray et al. 2012) |
| paper | 200,000 / 25,000 / 25,000 by a seeded order of the ids, the rest stands aside (4.1, which gives no seed) |
| random | 80 / 10 / 10 % by a seeded hash of each id, so that added rows move no other |
| lists | the user's own lists (data.split_dir); under a name of `LISTED` their lengths are checked |
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtp.config import ConfigError
from mtp.data.ava import files as ava_files
from mtp.data.ava import label_formats
from mtp.data.ava.files import CATEGORIES
from mtp.data.schema import DataError
from mtp.data.splits import SHARES, fraction

VALIDATION = 0.05  # share of the training challenges
PAPER = {"train": 200_000, "validation": 25_000, "test": 25_000}
# who published the lists, and how many ids they hold for training, validation and test (0: not known, or no such list)
LISTED = {
    "lists": (0, 0, 0),
    "ilgnet": (235_529, 0, 20_000),  # BestiVictory/ILGnet data/AVA1: train.txt, val.txt
    "idealo": (229_971, 0, 25_551),  # idealo/image-quality-assessment data/AVA: ava_labels_{train,test}.json
    "mpada": (229_971, 0, 25_551),  # MPADA AVA_info: the same test pictures as idealo's
    "tanet": (0, 12_775, 12_776),  # TANet code/AVA/dataset
    "relic": (0, 12_768, 12_768),  # ReLIC data/AVA
    "yunxiaoshi": (229_981, 12_691, 12_818),  # yunxiaoshi/Neural-IMage-Assessment
}
GENERIC = {"official": "", "ls": "generic_ls_train", "ss": "generic_ss_train"}
NAMES = (*GENERIC, *CATEGORIES, "paper", "random", *LISTED)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """names: for each picture one of `SPLITS`, or "" where it stands aside. remarks: what a user should know."""

    names: tuple[str, ...]
    remarks: tuple[str, ...]


def assign(
    name: str,
    ids: np.ndarray,
    challenges: np.ndarray,
    lists: Mapping[str, np.ndarray],
    *,
    seed: int,
    folder: str,
    known: np.ndarray,
) -> Assignment:
    """The split `name` of pictures with these ids (N,) and challenges (N,), 0 where unknown.

    lists: the package's. folder: of the user's lists. known: ids with a row of votes, whether or not their picture
    could be used. Errors: ConfigError on a name that is none; DataError where the split's lists are not at hand.
    """
    if name == "paper":
        return _paper(ids, seed)
    if name == "random":
        return Assignment(tuple(_shares(fraction(str(key), f"{seed}:")) for key in ids.tolist()), ())
    if name in GENERIC:
        train, test = GENERIC[name], "generic_test"
    elif name in CATEGORIES:
        train, test = f"{name}_train", f"{name}_test"
    elif name in LISTED:
        return _listed(name, ids, challenges, folder, known)
    else:
        raise ConfigError(f"data.split must be one of {', '.join(NAMES)}, not {name!r}")
    wanted = [listed for listed in (train, test) if listed]
    absent = [f"{listed}.jpgl" for listed in wanted if listed not in lists]
    if absent:
        raise DataError(
            f"the split {name} needs {', '.join(absent)} of the official package's aesthetics_image_lists; put "
            "them into the source and build the set again, or choose data.split=random"
        )
    remarks = [_without_row(f"{listed}.jpgl", lists[listed], known) for listed in wanted]
    names = from_lists(ids, challenges, lists[train] if train else None, None, lists[test])
    return Assignment(names, tuple(filter(None, remarks)))


def from_lists(
    ids: np.ndarray,
    challenges: np.ndarray,
    train: np.ndarray | None,
    validation: np.ndarray | None,
    test: np.ndarray,
) -> tuple[str, ...]:
    """train None: whatever is in no other list. validation None: 5 % of the training pictures, whole challenges."""
    names = np.full(len(ids), "" if train is not None else "train", dtype="<U10")
    if train is not None:
        names[np.isin(ids, train)] = "train"
    if validation is None:
        names[(names == "train") & held_out(ids, challenges)] = "validation"
    else:
        names[np.isin(ids, validation)] = "validation"
    names[np.isin(ids, test)] = "test"
    return tuple(names.tolist())


def official(ids: np.ndarray, challenges: np.ndarray, test: np.ndarray) -> tuple[str, ...]:
    """generic_test tests; 5 % of the other challenges validate; everything else trains."""
    return from_lists(ids, challenges, None, None, test)


def held_out(ids: np.ndarray, challenges: np.ndarray) -> np.ndarray:
    """(N,) whether a picture's challenge is one of the 5 % for validation; a picture of none counts by itself."""
    keys = [
        f"challenge {c}" if c else f"picture {i}"
        for i, c in zip(ids.tolist(), challenges.tolist(), strict=True)
    ]
    chosen = {key: fraction(key, "validation:") < VALIDATION for key in set(keys)}
    return np.array([chosen[key] for key in keys], bool)


def _shares(place: float) -> str:
    return next(name for name, bound in SHARES if place < bound)


def _paper(ids: np.ndarray, seed: int) -> Assignment:
    total = sum(PAPER.values())
    if len(ids) < total:
        raise DataError(
            f"the split paper needs {total:,} pictures, this set has {len(ids):,}; use data.split=official or random"
        )
    place = np.array([fraction(str(key), f"{seed}:") for key in ids.tolist()])
    names = np.full(len(ids), "", dtype="<U10")
    order, start = np.argsort(place, kind="stable"), 0
    for name, count in PAPER.items():
        names[order[start : start + count]] = name
        start += count
    return Assignment(
        tuple(names.tolist()), (f"{len(ids) - total:,} pictures are in no part of the split paper",)
    )


def _listed(name: str, ids: np.ndarray, challenges: np.ndarray, folder: str, known: np.ndarray) -> Assignment:
    if not folder or not Path(folder).is_dir():
        raise ConfigError(
            f"the split {name} needs data.split_dir, a folder with its lists (files whose names contain train, val and "
            f"test); it is {folder!r}"
        )
    files = {part: _list_file(Path(folder), part) for part in ("train", "val", "test")}
    found = {part: label_formats.ids_in(path) for part, path in files.items() if path}
    if "test" not in found and "val" in found and "train" in found:
        # ILGnet calls its test list val.txt
        found["test"] = found.pop("val")
    if "test" not in found:
        raise DataError(
            f"{folder} must hold a list whose name contains test; it holds {_names(Path(folder))}"
        )
    _refuse_shared(folder, found)
    remarks = [_without_row(part, listed, known) for part, listed in found.items()]
    for part, count in zip(("train", "val", "test"), LISTED[name], strict=True):
        if count and part in found and len(found[part]) != count:
            remarks.append(
                f"the {part} list in {folder} has {len(found[part]):,} ids; that of {name} has {count:,}"
            )
    names = from_lists(ids, challenges, found.get("train"), found.get("val"), found["test"])
    return Assignment(names, tuple(filter(None, remarks)))


def _list_file(folder: Path, part: str) -> Path | None:
    found = [path for path in sorted(folder.iterdir()) if part in path.stem.lower() and path.is_file()]
    if len(found) > 1:
        raise DataError(
            f"{folder}: one list has {part} in its name, there are {', '.join(p.name for p in found)}; keep one"
        )
    return found[0] if found else None


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"


def _refuse_shared(folder: str, found: Mapping[str, np.ndarray]) -> None:
    parts = list(found)
    for i, a in enumerate(parts):
        for b in parts[i + 1 :]:
            both = np.intersect1d(found[a], found[b])
            if len(both):
                raise DataError(
                    f"{folder}: {len(both)} ids are in the lists {a} and {b}, the first is {both[0]}; keep it in one"
                )


def _without_row(name: str, listed: np.ndarray, known: np.ndarray) -> str:
    missing = ava_files.without_row(listed, known)
    if not len(missing):
        return ""
    shown = ", ".join(map(str, missing[:3].tolist()))
    return f"{len(missing):,} of the {len(listed):,} ids of {name} have no row of votes ({shown}, ..)"
