"""Named splits: disjoint, by ids and challenges alone, and each says what it lacks."""

import json

import numpy as np
import pytest

from mtp.config import ConfigError
from mtp.data.ava import splits as ava_splits
from mtp.data.schema import DataError

IDS = np.arange(1000, 5000)
CHALLENGES = IDS % 97 + 1
LISTS = {
    "generic_test": np.array([*range(1000, 1300), 7, 8]),
    "generic_ls_train": np.arange(1300, 1600),
    "generic_ss_train": np.arange(1300, 1350),
    "animal_train": np.arange(1300, 1400),
    "animal_test": np.arange(1000, 1050),
}


def assign(name, ids=IDS, challenges=CHALLENGES, lists=LISTS, seed=0, folder=""):
    return ava_splits.assign(name, ids, challenges, lists, seed=seed, folder=folder, known=ids)


def parts(assignment, ids=IDS):
    names = np.array(assignment.names)
    return {part: set(ids[names == part].tolist()) for part in ("train", "validation", "test", "")}


def test_official():
    assignment = assign("official")
    found = parts(assignment)
    assert found["test"] == set(range(1000, 1300)) and not found[""]
    assert "2 of the 302 ids of generic_test.jpgl have no row of votes (7, 8, ..)" in assignment.remarks[0]
    of = dict(zip(IDS.tolist(), CHALLENGES.tolist(), strict=True))
    assert not {of[i] for i in found["train"]} & {of[i] for i in found["validation"]}
    assert ava_splits.official(IDS, CHALLENGES, LISTS["generic_test"]) == assignment.names


def test_validation_is_a_twentieth_of_many_challenges():
    ids = np.arange(1, 40_001)
    share = ava_splits.held_out(ids, ids // 20 + 1).mean()
    assert 0.04 < share < 0.06
    # without challenges each picture stands for itself
    assert 0.04 < ava_splits.held_out(ids, np.zeros_like(ids)).mean() < 0.06


@pytest.mark.parametrize(("name", "train", "test"), [("ls", 300, 300), ("ss", 50, 300), ("animal", 100, 50)])
def test_splits_with_a_training_list(name, train, test):
    found = parts(assign(name))
    assert len(found["train"] | found["validation"]) == train and len(found["test"]) == test
    assert len(found[""]) == len(IDS) - train - test


@pytest.mark.parametrize("name", ["official", "random"])
def test_added_rows_move_nobody(name):
    more = np.arange(900, 6000)
    before = dict(zip(IDS.tolist(), assign(name).names, strict=True))
    after = dict(zip(more.tolist(), assign(name, more, more % 97 + 1).names, strict=True))
    assert before == {key: after[key] for key in before}


def test_random_has_its_shares_and_its_seed():
    found = {part: len(ids) for part, ids in parts(assign("random")).items()}
    assert 0.77 < found["train"] / 4000 < 0.83 and 0.08 < found["validation"] / 4000 < 0.12 and not found[""]
    assert assign("random", seed=1).names != assign("random").names


def test_paper_has_the_papers_counts():
    ids = np.arange(255_530)
    assignment = assign("paper", ids, ids)
    found = parts(assignment, ids)
    assert {k: len(v) for k, v in found.items()} == {
        "train": 200_000,
        "validation": 25_000,
        "test": 25_000,
        "": 5_530,
    }
    assert assignment.remarks == ("5,530 pictures are in no part of the split paper",)
    with pytest.raises(DataError, match="needs 250,000 pictures, this set has 4,000"):
        assign("paper")


def test_what_is_not_at_hand():
    with pytest.raises(DataError, match=r"needs floral_train\.jpgl, floral_test\.jpgl"):
        assign("floral")
    with pytest.raises(ConfigError, match=r"data\.split must be one of official, ls"):
        assign("offical")
    with pytest.raises(ConfigError, match=r"needs data\.split_dir"):
        assign("ilgnet")


def test_lists_of_ilgnet(tmp_path):
    (tmp_path / "train.txt").write_text("".join(f"{i}.jpg 1\n" for i in range(1100, 1200)))
    (tmp_path / "val.txt").write_text("".join(f"{i}.jpg 0\n" for i in [1000, 1001, 5]))
    assignment = assign("ilgnet", folder=str(tmp_path))
    found = parts(assignment)
    assert found["test"] == {1000, 1001} and found["train"] | found["validation"] == set(range(1100, 1200))
    assert any("1 of the 3 ids of test have no row" in r for r in assignment.remarks)
    assert any("has 100 ids; that of ilgnet has 235,529" in r for r in assignment.remarks)


def test_lists_of_idealo_and_tanet(tmp_path):
    votes = [1] * 10
    (tmp_path / "ava_labels_test.json").write_text(json.dumps([{"image_id": "1000", "label": votes}]))
    found = parts(assign("idealo", folder=str(tmp_path)))
    assert found["test"] == {1000} and len(found["train"]) + len(found["validation"]) == 3999
    header = "image_id," + ",".join(f"score{k}" for k in range(2, 12)) + "\n"
    (tmp_path / "val.csv").write_text(f"{header}1001,{','.join(map(str, votes))}\n\n")
    found = parts(assign("tanet", folder=str(tmp_path)))
    assert found["validation"] == {1001} and found["test"] == {1000} and len(found["train"]) == 3998


def test_lists_that_cannot_be(tmp_path):
    (tmp_path / "train.txt").write_text("1000\n1001\n")
    with pytest.raises(DataError, match=r"a list whose name contains test; it holds train\.txt"):
        assign("lists", folder=str(tmp_path))
    (tmp_path / "test.txt").write_text("1001\n")
    with pytest.raises(DataError, match="1 ids are in the lists train and test, the first is 1001"):
        assign("lists", folder=str(tmp_path))
    (tmp_path / "test2.txt").write_text("1001\n")
    with pytest.raises(DataError, match=r"there are test\.txt, test2\.txt; keep one"):
        assign("lists", folder=str(tmp_path))


def test_the_real_lists(shared_data):
    from mtp.data.ava import files as ava_files

    rows, _ = ava_files.parse_rows((shared_data / "ava" / "AVA_part.txt").read_bytes())
    lists = ava_files.read_package(shared_data / "ava").lists
    found = parts(assign("official", rows.ids, rows.challenges, lists), rows.ids)
    assert len(found["test"]) == 3_708
    validation = len(found["validation"]) / (len(found["train"]) + len(found["validation"]))
    assert 0.03 < validation < 0.07
