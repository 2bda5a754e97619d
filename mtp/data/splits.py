"""Which picture trains, validates and tests: decided by names alone, so that added rows change no other's split."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from mtp.config import ConfigError

SHARES = (("train", 0.8), ("validation", 0.9), ("test", 1.0))  # cumulative


def fraction(name: str, salt: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    digest = hashlib.sha256(f"{salt}{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def by_hash(keys: Sequence[str]) -> tuple[str, ...]:
    """80 % train, 10 % validation, 10 % test by SHA-256 of each key (a picture's name, or its group's)."""
    fractions = {key: fraction(key, "") for key in set(keys)}
    return tuple(next(name for name, bound in SHARES if fractions[key] < bound) for key in keys)


def k_fold(keys: Sequence[str], folds: int, fold: int, seed: int) -> tuple[str, ...]:
    """K-fold over keys: fold `fold` is test, the next one validation, the others train.

    Equal keys stay together. Keys go, in hash order, each to the fold with the fewest pictures.
    Errors: ConfigError where there are not at least 3 folds, or fewer keys than folds.
    """
    count = {key: 0 for key in sorted(set(keys), key=lambda k: fraction(k, f"{seed}:"))}
    for key in keys:
        count[key] += 1
    if not 3 <= folds <= len(count) or not 0 <= fold < folds:
        raise ConfigError(
            f"data.folds must lie in 3..{len(count)} (the number of pictures or groups) and data.fold in "
            f"0..folds-1; they are {folds} and {fold}"
        )
    pictures = np.zeros(folds, int)
    place: dict[str, int] = {}
    for key, n in count.items():
        place[key] = int(np.argmin(pictures))
        pictures[place[key]] += n
    roles: Mapping[int, str] = {fold: "test", (fold + 1) % folds: "validation"}
    return tuple(roles.get(place[key], "train") for key in keys)


def torn_groups(splits: Sequence[str], groups: Sequence[str]) -> dict[str, list[str]]:
    """Groups whose pictures lie in more than one split, and in which."""
    found: dict[str, set[str]] = {}
    for split, group in zip(splits, groups, strict=True):
        found.setdefault(group, set()).add(split)
    return {group: sorted(names) for group, names in found.items() if len(names) > 1}
