"""Splits by names alone."""

from collections import Counter

import pytest

from mtp.data import splits

NAMES = [f"{i:05d}.jpg" for i in range(5000)]


def test_shares_are_80_10_10():
    counts = Counter(splits.by_hash(NAMES))
    assert counts["train"] == pytest.approx(4000, abs=120)
    assert counts["validation"] == pytest.approx(500, abs=90)
    assert counts["test"] == pytest.approx(500, abs=90)


def test_added_pictures_move_nobody():
    assert splits.by_hash(NAMES[::-1])[::-1] == splits.by_hash(NAMES)
    assert splits.by_hash([*NAMES, "new.jpg"])[:-1] == splits.by_hash(NAMES)


def test_equal_keys_stay_together():
    groups = [name[:3] for name in NAMES]
    assert not splits.torn_groups(splits.by_hash(groups), groups)
    assert not splits.torn_groups(splits.k_fold(groups, 5, 2, 0), groups)


def test_each_picture_is_tested_and_validated_once_over_the_folds():
    groups = [name[:4] for name in NAMES[:777]]
    folds = [splits.k_fold(groups, 5, fold, 0) for fold in range(5)]
    for roles in zip(*folds, strict=True):
        assert Counter(roles) == {"train": 3, "validation": 1, "test": 1}
    sizes = [Counter(f)["test"] for f in folds]
    assert max(sizes) - min(sizes) <= 10  # a group


def test_another_seed_folds_otherwise():
    assert splits.k_fold(NAMES[:50], 5, 0, 0) != splits.k_fold(NAMES[:50], 5, 0, 1)


@pytest.mark.parametrize(("folds", "fold"), [(2, 0), (6, 0), (3, 3), (3, -1)])
def test_impossible_folds(folds, fold):
    with pytest.raises(ValueError, match=r"data\.folds must lie in 3\.\.5"):
        splits.k_fold(list("abcde"), folds, fold, 0)


def test_torn_groups_are_named():
    assert splits.torn_groups(["train", "test", "test"], ["a", "a", "b"]) == {"a": ["test", "train"]}
