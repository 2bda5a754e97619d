"""A workdir belongs to one configuration."""

import json

import pytest

from mtp.config import OPTIONS, ConfigError, Reach, configured, flat, get_config
from mtp.files import DamagedFileError
from mtp.runtime.checkpoint import Checkpoints
from mtp.workdirs import (
    UsageError,
    as_begun,
    claim,
    compare,
    evaluation_folder,
    finished,
    folder_beside,
    refuse_file,
    stored_config,
)


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


def differing(option, value):
    """A configuration that differs from the defaults in one option."""
    config = get_config()
    config.update_from_flattened_dict({"data.dir": "photos", option: value})
    return config


# the value of another kind of choice or number for every option
OTHER = {
    name: not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else
    0.5 if value is None else value + value if isinstance(value, tuple) else value + "x"
    for name, value in flat(get_config()).items()
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_only_what_shapes_no_checkpoint_may_differ_between_two_starts(name, tmp_path):
    saved(tmp_path)
    claim(differing("data.dir", "photos"), tmp_path)
    if OPTIONS[name].reach in (Reach.PLACE, Reach.EVALUATION, Reach.NOTHING):
        claim(differing(name, OTHER[name]), tmp_path)
        assert flat(json.loads((tmp_path / "config.json").read_text()))[name] == OTHER[name]
    else:
        with pytest.raises(UsageError, match=f"  {name}: there "):
            claim(differing(name, OTHER[name]), tmp_path)


def test_what_differed_freely_before_still_may():
    free = {name for name, option in OPTIONS.items() if not option.reach.fixed}
    assert free == {
        *(name for name in OPTIONS if name.startswith(("log.", "run."))),
        *(name for name in OPTIONS if name.startswith("eval.")),
        # what lies there may not
        "data.dir", "data.csv", "data.split_dir",
        "input.threads", "input.ahead", "train.compile_in_parallel", "train.save_every_steps", "optim.max_bad_steps",
    } - {"eval.size", "eval.max_pixels", "eval.too_large"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eval.size", "trained"),
        ("eval.size", "warp=96"),
        ("eval.max_pixels", 2048),
        ("eval.too_large", "shrink"),
    ],
)
def test_what_chooses_the_best_checkpoint_is_the_evaluations_to_change_only(name, value, tmp_path):
    saved(tmp_path)
    claim(differing("data.dir", "photos"), tmp_path)
    with pytest.raises(
        UsageError, match=rf"(?s)evaluate the finished run otherwise with --mode=evaluate.*{name}: there"
    ):
        claim(differing(name, value), tmp_path)
    assert flat(stored_config(tmp_path, {name: value}))[name] == value


def test_an_evaluation_takes_what_does_not_belong_to_the_training(tmp_path):
    claim(differing("data.dir", "photos"), tmp_path)
    taken = {
        "data.max_skipped": 0.5,
        "eval.bootstrap": 7,
        "log.every_steps": 3,
        "input.threads": 1,
        "run.devices": 1,
    }
    assert flat(stored_config(tmp_path, taken)) == flat(differing("data.dir", "photos")) | taken
    with pytest.raises(ConfigError) as error:
        stored_config(
            tmp_path, {"input.sizes": ((64, 64),), "seed": 3, "eval.split": "most", "eval.bootstap": 1}
        )
    told = str(error.value)
    assert "input.sizes belongs to the training" in told and "seed belongs to the training" in told
    assert "eval.split must be one of" in told and "the nearest is eval.bootstrap" in told


def test_options_that_are_no_more_and_values_that_cannot_be_are_told_of_an_old_workdir(tmp_path):
    claim(differing("data.dir", "photos"), tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    content["loss"] |= {"tau": 0.0, "gone": 1}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(
        ConfigError, match=r"(?s)there is no option loss\.gone.*loss\.tau must be None or a number above 0"
    ):
        stored_config(tmp_path, {})


def test_a_run_that_failed_before_its_first_save_does_not_hold_the_workdir(tmp_path):
    wrong = get_config()
    wrong.data.fold = 2
    claim(wrong, tmp_path)
    right = get_config()
    right.data.fold = 1
    claim(right, tmp_path)
    saved(tmp_path)
    with pytest.raises(UsageError, match=r"data\.fold: there 1, now 2"):
        claim(wrong, tmp_path)


def test_the_table_of_an_unfinished_training_does_not_end_it(tmp_path):
    config = get_config()
    for name, whole in (("part", False), ("whole", True)):
        (tmp_path / name).mkdir()
        content = {"config": json.loads(config.to_json()), "finished": whole}
        (tmp_path / name / "results.json").write_text(json.dumps(content))
    assert finished(config, tmp_path / "part") == []
    assert finished(config, tmp_path / "whole") == [content]


def test_a_table_is_of_the_data_at_one_place_however_that_is_spelt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("photos")
    config = differing("data.dir", "photos")
    content = {"config": json.loads(config.to_json())}
    (tmp_path / "results.json").write_text(json.dumps(content))
    for folder in ("photos", "photos/", "./photos", str(tmp_path / "photos"), "link"):
        assert finished(differing("data.dir", folder), tmp_path) == [content], folder
    for folder in ("other", "photos/inside", ""):
        assert finished(differing("data.dir", folder), tmp_path) == [], folder
    assert finished(differing("data.csv", "other.csv"), tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", bytes(99)])
def test_damaged_files_are_named_with_what_to_do(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    for read in (lambda: compare(get_config(), tmp_path), lambda: stored_config(tmp_path, {})):
        with pytest.raises(
            DamagedFileError, match=r"config.json is damaged .*; delete it: the checkpoints say too"
        ):
            read()
    (tmp_path / "results.json").write_bytes(content)
    for read in (
        lambda: finished(get_config(), tmp_path),
        lambda: folder_beside(tmp_path.parent, tmp_path.name, get_config()),
    ):
        (tmp_path.parent / "evaluations").mkdir(exist_ok=True)
        (tmp_path.parent / "evaluations" / f"{tmp_path.name}-test").unlink(missing_ok=True)
        (tmp_path.parent / "evaluations" / f"{tmp_path.name}-test").symlink_to(tmp_path)
        with pytest.raises(
            DamagedFileError, match=r"results.json is damaged .*; delete it, and the same command"
        ):
            read()
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(DamagedFileError, match="it has no configuration"):
        finished(get_config(), tmp_path)


def test_without_its_file_the_configuration_is_the_checkpoints(tmp_path):
    config = differing("optim.clip_norm", 3.0)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(3, {}, {}, {"config": json.loads(config.to_json())})
    checkpoints.close()
    assert flat(stored_config(tmp_path, {})) == flat(config)
    with pytest.raises(UsageError, match=r"optim\.clip_norm: there 3\.0, now 1\.0"):
        compare(differing("data.dir", "photos"), tmp_path)


def test_a_workdir_is_no_file(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UsageError, match=r"--workdir must be a folder, but .*/run is a file; choose another"):
        refuse_file(tmp_path / "run")
    refuse_file(tmp_path)
    refuse_file(tmp_path / "none")


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
    split = {"data.split": "official", "data.dir": "built"} if trained == "ava" else {}
    stored(tmp_path, **{"data.name": trained, "eval.by": "category", **split})
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


def begun(workdir, native):
    saved(workdir)
    claim(configured({"data.dir": "photos", "run.native": native}), workdir)
    return workdir


@pytest.mark.parametrize("native", ["on", "off"])
def test_a_run_goes_on_by_the_path_on_which_it_began(tmp_path, capsys, native):
    assert as_begun(configured({}), begun(tmp_path, native)).run.native == native
    assert as_begun(configured({"run.native": native}), tmp_path).run.native == native
    assert capsys.readouterr().out == ""


def test_another_path_is_taken_where_it_is_asked_for_and_said(tmp_path, capsys):
    assert as_begun(configured({"run.native": "off"}), begun(tmp_path, "on")).run.native == "off"
    assert (
        "this run began with run.native=on; from here on its last digits are those of off"
        in capsys.readouterr().out
    )


def test_before_the_first_checkpoint_a_run_has_no_path(tmp_path):
    claim(configured({"run.native": "off"}), tmp_path)
    assert as_begun(configured({}), tmp_path).run.native == "auto"


def test_a_run_that_began_on_an_accelerator_has_no_path_on_cpus(tmp_path):
    assert as_begun(configured({}), begun(tmp_path, "auto")).run.native == "auto"


@pytest.mark.parametrize(
    ("trained", "given", "taken"),
    [("on", {}, "auto"), ("off", {}, "off"), ("on", {"run.native": "off"}, "off")],
)
def test_a_run_on_kernels_may_be_evaluated_without_them(tmp_path, trained, given, taken):
    assert stored_config(begun(tmp_path, trained), given).run.native == taken
