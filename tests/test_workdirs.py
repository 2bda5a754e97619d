"""A workdir belongs to one configuration."""

import json

import pytest

from mtp.config import get_config
from mtp.workdirs import UsageError, claim, evaluation_folder, finished, stored_config


def saved(workdir):
    (workdir / "checkpoints" / "3").mkdir(parents=True)


def test_an_option_younger_than_the_workdir_had_its_default_there(tmp_path):
    saved(tmp_path)
    claim(get_config(), tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["loss"]["target"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    claim(get_config(), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(stored))
    changed = get_config()
    changed.loss.target = "mean"
    with pytest.raises(UsageError, match=r"loss\.target: there 'histogram', now 'mean'"):
        claim(changed, tmp_path)


def test_a_run_that_failed_before_its_first_save_does_not_hold_the_workdir(tmp_path):
    wrong = get_config()
    wrong.data.dir = "phtos"
    claim(wrong, tmp_path)
    right = get_config()
    right.data.dir = "photos"
    claim(right, tmp_path)
    saved(tmp_path)
    with pytest.raises(UsageError, match=r"data\.dir: there 'photos', now 'phtos'"):
        claim(wrong, tmp_path)


def test_the_table_of_an_unfinished_training_does_not_end_it(tmp_path):
    config = get_config()
    for name, whole in (("part", False), ("whole", True)):
        (tmp_path / name).mkdir()
        content = {"config": json.loads(config.to_json()), "finished": whole}
        (tmp_path / name / "results.json").write_text(json.dumps(content))
    assert finished(config, tmp_path / "part") == []
    assert finished(config, tmp_path / "whole") == [content]


def stored(workdir, **options):
    config = get_config()
    config.update_from_flattened_dict(options)
    claim(config, workdir)


def test_what_described_the_old_folder_is_forgotten_for_another(tmp_path):
    old = {"data.dir": str(tmp_path / "old"), "data.group": "theme", "data.folds": 5, "data.max_skipped": 0.1}
    stored(tmp_path, **old)
    same = stored_config(tmp_path, {"data.dir": str(tmp_path / "old"), "eval.split": "all"})
    assert (same.data.group, same.data.folds) == ("theme", 5)
    other = stored_config(tmp_path, {"data.dir": str(tmp_path / "new"), "data.group": "place"})
    assert (other.data.group, other.data.folds, other.data.max_skipped) == ("place", 0, 0.1)


@pytest.mark.parametrize("trained", ["demo", "ava"])
def test_a_folder_of_photographs_is_one_whatever_was_trained_on(trained, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "votes.csv").write_text("image,c1,c2\n")
    stored(tmp_path, **{"data.name": trained, "data.split": "official", "eval.by": "category"})
    c = stored_config(tmp_path, {"data.dir": str(tmp_path / "photos")})
    assert (c.data.name, c.data.split, c.eval.by) == ("votes", "", "")


def test_another_built_ava_stays_one(tmp_path):
    stored(tmp_path, **{"data.name": "ava", "data.dir": "one", "data.split": "ls", "eval.by": "category"})
    c = stored_config(tmp_path, {"data.dir": str(tmp_path)})
    assert (c.data.name, c.data.split, c.eval.by) == ("ava", "ls", "category")


def test_evaluations_do_not_overwrite_one_another(tmp_path):
    config = get_config()
    assert evaluation_folder(tmp_path, "photos", config, {"log.every_steps": 1}) == tmp_path
    folders = []
    for folder in ("a/photos", "b/photos", "a/photos"):
        config.data.dir = folder
        folders.append(evaluation_folder(tmp_path, "photos", config, {"data.dir": folder}))
        folders[-1].mkdir(parents=True, exist_ok=True)
        content = {"config": json.loads(config.to_json())}
        (folders[-1] / "results.json").write_text(json.dumps(content))
    assert [f.name for f in folders] == ["photos-test", "photos-test-2", "photos-test"]
