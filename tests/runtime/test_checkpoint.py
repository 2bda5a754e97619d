"""Which checkpoints are kept, that they come back bit by bit, and that a wrong one is refused by name."""

import errno
import math
import os
import re
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.runtime import step_folder
from mtp.runtime.checkpoint import CheckpointError, Checkpoints
from mtp.runtime.mesh import data_mesh, replicated


def state_of(step, outputs=10):
    """(What predicts, all else) of a run's state."""
    draw = np.random.default_rng(step).normal
    kernel = jnp.array(draw(size=(300, outputs)), jnp.float32)
    half = jnp.array(draw(size=5), jnp.bfloat16)
    model = {"params": {"backbone": {"norm/scale": half}, "heads": [{"kernel": kernel}, ()]}, "average": None}
    training = {"step": jnp.int32(step), "moments": jnp.array(draw(size=(200, 3)), jnp.float32)}
    return model, training


def abstract(state):
    place = replicated(data_mesh(1))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state)


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def save(checkpoints, step, score=None, meta=None):
    checkpoints.save(step, *state_of(step), meta or {"at": step}, rated=True)
    checkpoints.rate(step, score)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of six saves, closed; step 2 is the best."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(folder)
    values = {1: 0.3, 2: 0.1, 3: math.nan, 4: 0.2, 5: None, 6: math.inf}
    for step, value in values.items():
        save(checkpoints, step, None if value is None else -value, {"config": {"lr": 0.1}, "at": step})
    checkpoints.close()
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """The same run, to be damaged."""
    return shutil.copytree(finished, tmp_path / "copy")


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def test_the_latest_two_and_the_best_are_kept(finished):
    assert steps_in(finished) == [2, 5, 6]
    run = Checkpoints(finished, read_only=True)
    assert (run.latest_step(), run.best_step()) == (6, 2)
    run.close()


@pytest.mark.parametrize("step", [None, 2, 5])
def test_another_process_gets_the_same_bits_and_meta(finished, step):
    run = Checkpoints(finished, read_only=True)
    *state, meta = run.restore(*abstract(state_of(0)), step)
    wanted = step or 6
    assert_same_bits(tuple(state), state_of(wanted))
    assert meta == run.meta(step) == {"config": {"lr": 0.1}, "at": wanted}
    assert all(leaf.sharding == replicated(data_mesh(1)) for leaf in jax.tree.leaves(state))
    model, same = run.restore_model(abstract(state_of(0))[0], step)
    assert_same_bits(model, state_of(wanted)[0])
    assert same == meta
    run.close()


def test_restoring_writes_nothing(finished):
    before = sorted(finished.rglob("*"))
    run = Checkpoints(finished, read_only=True)
    run.restore(*abstract(state_of(0)))
    with pytest.raises(CheckpointError, match="read-only"):
        run.save(7, *state_of(7), {})
    run.close()
    assert sorted(finished.rglob("*")) == before


def test_another_number_of_classes_is_an_error_with_both_shapes(finished):
    run = Checkpoints(finished, read_only=True)
    expected = "params/heads/0/kernel: stored float32(300, 10), wanted float32(300, 7)"
    with pytest.raises(CheckpointError, match=re.escape(expected)) as caught:
        run.restore(*abstract(state_of(0, outputs=7)))
    assert "1 differ" in str(caught.value)
    run.close()


def test_missing_and_left_over_arrays_and_another_type_are_errors_by_name(finished):
    run = Checkpoints(finished, read_only=True)
    half = jnp.zeros(5, jnp.float16)
    other = {"params": {"backbone": {"norm/scale": half}}, "average": {"a": jnp.zeros(())}}
    with pytest.raises(CheckpointError, match="3 differ") as caught:
        run.restore(abstract(other), abstract(state_of(0)[1]))
    for line in (
        "params/backbone/norm/scale: stored bfloat16(5,), wanted float16(5,)",
        "average/a: stored nothing, wanted float32()",
        "params/heads/0/kernel: stored float32(300, 10), wanted nothing",
    ):
        assert line in str(caught.value)
    run.close()


def flip_a_bit(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def change_a_digit(path):
    """Of the learning rate in the meta, or of the score."""
    text = path.read_text()
    changed = re.sub(r'("(lr|score)": (-?\d\.)?)(\d|null)', r"\g<1>9", text)
    assert changed != text
    path.write_text(changed)


# what is done to a file -> what is said of it, with its part's name
DAMAGES = {
    "removed": (Path.unlink, "is missing"),
    "empty": (
        lambda path: path.write_bytes(b""),
        r"is no JSON object|has 0 bytes, not the \d+ that were saved",
    ),
    "cut short": (truncate, r"is no JSON object|has \d+ bytes, not the"),
    "zeros": (
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        "is no JSON object|does not have the checksum",
    ),
    "a flipped bit": (flip_a_bit, "is no JSON object|does not have the checksum"),
    "a list": (lambda path: path.write_text("[]"), "is no JSON object|has 2 bytes"),
    "another object": (lambda path: path.write_text("{}"), "does not have the checksum|has 2 bytes"),
    "a changed digit": (change_a_digit, "does not have the checksum"),
}
PARTS = {"model.bin": "model", "training.bin": "training", "meta.json": "meta", "score.json": "score"}


def damages():
    for name, part in PARTS.items():
        for what, (damage, said) in DAMAGES.items():
            # a score that is not there is that of a step which was not validated
            if (what, part) != ("removed", "score") and (what != "a changed digit" or name.endswith("json")):
                yield pytest.param(name, part, damage, said, id=f"{part} {what}")


@pytest.mark.parametrize(("name", "part", "damage", "said"), list(damages()))
def test_a_damaged_newest_step_is_set_aside_aloud_and_the_one_before_goes_on(
    name, part, damage, said, copy, capsys
):
    damage(copy / "6" / name)
    reader = Checkpoints(copy, read_only=True)
    with pytest.raises(
        CheckpointError, match=rf"6 is damaged: its {part} ({said}).*Delete this step's folder"
    ) as told:
        reader.restore(*abstract(state_of(0)), 6)
        reader.best_step()
    assert "\n" not in str(told.value) and steps_in(copy) == [2, 5, 6]
    run = Checkpoints(copy)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(rf"warning: {copy}/6 is damaged: its {part} ({said})", line)
    assert line.endswith("It is now 6.damaged; the latest whole step is 5")
    assert (run.latest_step(), run.best_step()) == (5, 2)
    *state, meta = run.restore(*abstract(state_of(0)))
    assert_same_bits(tuple(state), state_of(5))
    assert meta["at"] == 5
    save(run, 6)
    run.close()
    assert steps_in(copy) == [2, 5, 6] and (copy / "6.damaged").is_dir()
    assert capsys.readouterr().out == ""


def test_an_empty_folder_is_no_step(copy, capsys):
    (copy / "8").mkdir()
    run = Checkpoints(copy)
    assert "8 is damaged: its meta is missing" in capsys.readouterr().out
    assert run.latest_step() == 6
    run.close()


def test_where_none_is_whole_nothing_is_touched(copy):
    for step, name in zip((2, 5, 6), PARTS, strict=False):
        (copy / str(step) / name).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(
            CheckpointError, match=r"not one checkpoint can be used: .*2 is.*5 is.*6 is"
        ) as told:
            Checkpoints(copy)
        assert "\n" not in str(told.value)
    assert steps_in(copy) == [2, 5, 6]


def test_a_damaged_best_step_is_told_to_who_reads_it(copy):
    flip_a_bit(copy / "2" / "model.bin")
    run = Checkpoints(copy, read_only=True)
    with pytest.raises(
        CheckpointError, match=r"2 is damaged.*Delete this step's folder to go on from another \(5, 6"
    ):
        run.restore_model(abstract(state_of(0))[0], run.best_step())
    shutil.rmtree(copy / "2")
    assert run.best_step() == 6


def test_what_predicts_is_read_without_the_rest(copy):
    (copy / "6" / "training.bin").unlink()
    run = Checkpoints(copy, read_only=True)
    model, meta = run.restore_model(abstract(state_of(0))[0])
    assert_same_bits(model, state_of(6)[0])
    assert meta["at"] == 6
    run.close()


@pytest.mark.parametrize("items", [("meta", "state"), ("meta", "model", "training")])
def test_a_checkpoint_of_an_earlier_form_is_refused_in_a_line(items, tmp_path):
    """Each of its items was a folder."""
    for item in items:
        (tmp_path / "a" / "4" / item).mkdir(parents=True)
        (tmp_path / "a" / "4" / item / "metadata").write_text("{}")
    run = Checkpoints(tmp_path / "a", read_only=True)
    model, training = abstract(state_of(0))
    for read in (run.meta, lambda: run.restore_model(model), lambda: run.restore(model, training)):
        with pytest.raises(
            CheckpointError, match=r"4 was saved by an earlier version.*train again"
        ) as caught:
            read()
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"4 was saved by an earlier version.*train again"):
        Checkpoints(tmp_path / "a")


@pytest.mark.parametrize(
    "scores", [(-0.3, -0.1, -0.2, -0.4), (0.5, 0.9, 0.8, 0.1)], ids=["losses", "accuracies"]
)
def test_the_best_has_the_highest_score(scores, tmp_path):
    run = Checkpoints(tmp_path / "a")
    for step, score in enumerate(scores, 1):
        save(run, step, score)
    run.close()
    run = Checkpoints(tmp_path / "a", read_only=True)
    assert run.best_step() == run.best_known_step() == 2
    assert run.meta(2) == {"at": 2}
    run.close()
    assert steps_in(tmp_path / "a") == [2, 3, 4]


def test_the_state_may_be_given_away_at_once(tmp_path):
    """The training step donates the state that is being saved."""
    run = Checkpoints(tmp_path / "a")
    state = state_of(1)
    run.save(1, *state, {})
    jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)(state)
    *restored, _ = run.restore(*abstract(state_of(0)))
    assert_same_bits(tuple(restored), state_of(1))
    run.close()


@pytest.mark.parametrize("left", ["9.tmp", "4.removed"])
def test_what_was_cut_short_does_not_count_and_is_cleaned_up(left, copy):
    """A save, a removal."""
    shutil.copytree(copy / "6", copy / left)
    reader = Checkpoints(copy, read_only=True)
    assert reader.latest_step() == 6
    assert (copy / left).exists()
    writer = Checkpoints(copy)
    save(writer, 7)
    assert writer.best_step() == 2
    writer.close()
    assert not (copy / left).exists()
    assert steps_in(copy) == [2, 6, 7]


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device", "x")


def test_a_full_disk_is_told_once_leaves_nothing_and_with_room_the_run_goes_on(copy, monkeypatch):
    run = Checkpoints(copy)
    with monkeypatch.context() as patch:
        patch.setattr(step_folder, "_write_vectors", full)
        run.save(7, *state_of(7), {})
        with pytest.raises(
            CheckpointError,
            match=r"step 7 could not be saved: x: No space left on device; make room, and run",
        ):
            run.wait()
    assert sorted(path.name for path in copy.iterdir()) == ["2", "5", "6"]
    save(run, 7)
    run.close()
    assert steps_in(copy) == [2, 6, 7]


def test_a_failed_save_is_noticed_without_waiting_for_the_next(copy, monkeypatch):
    run = Checkpoints(copy)
    monkeypatch.setattr(step_folder, "_write_vectors", full)
    run.save(7, *state_of(7), {})
    with pytest.raises(CheckpointError, match="step 7 could not be saved"):
        for _ in range(1000):
            run.check()
            time.sleep(0.01)
    run.close()


def test_a_folder_that_is_gone_or_a_file_is_an_error_in_a_line(copy):
    run = Checkpoints(copy)
    shutil.rmtree(copy)
    copy.write_text("a file in its place")
    run.save(7, *state_of(7), {})
    with pytest.raises(CheckpointError, match=r"step 7 could not be saved: .*Not a directory"):
        run.close()


def test_the_latest_step_may_wait_for_its_score_but_no_other(copy, capsys):
    run = Checkpoints(copy)
    run.save(7, *state_of(7), {}, rated=True)
    assert run.awaits_rating(7) and not run.awaits_rating(6) and run.best_step() == 2
    run.rate(7, 0.5)
    assert not run.awaits_rating(7) and run.best_step() == 7
    run.save(8, *state_of(8), {})
    assert not run.awaits_rating(8)
    run.close()
    (copy / "7" / "score.json").unlink()
    with pytest.raises(CheckpointError, match=r"7 is damaged: its score is missing \(score.json\)"):
        Checkpoints(copy, read_only=True).best_step()
    run = Checkpoints(copy)
    assert "7 is damaged: its score is missing" in capsys.readouterr().out
    assert run.steps() == [8]


def test_an_earlier_step_is_refused_and_the_same_step_is_left_alone(tmp_path):
    run = Checkpoints(tmp_path / "a")
    run.save(5, *state_of(5), {"first": True})
    run.save(5, *state_of(6), {"first": False})
    with pytest.raises(CheckpointError, match=r"step 3 was not saved.*holds steps \[5\]"):
        run.save(3, *state_of(3), {})
    *state, meta = run.restore(*abstract(state_of(0)))
    assert meta == {"first": True}
    assert_same_bits(tuple(state), state_of(5))
    run.close()


@pytest.mark.parametrize("value", [None, math.nan])
def test_without_any_finite_value_the_latest_is_the_best_even_after_closing(tmp_path, value):
    run = Checkpoints(tmp_path / "a")
    for step in (1, 2, 3):
        save(run, step, value)
    run.close()
    assert run.best_step() == 3
    assert steps_in(tmp_path / "a") == [2, 3]


def test_an_empty_run_and_a_step_that_is_not_there_are_errors(finished, tmp_path):
    empty = Checkpoints(tmp_path / "nothing", read_only=True)
    assert empty.latest_step() is None
    assert empty.best_step() is None
    with pytest.raises(CheckpointError, match="must hold a checkpoint, but it has none"):
        empty.restore(*abstract(state_of(0)))
    assert not (tmp_path / "nothing").exists()
    run = Checkpoints(finished, read_only=True)
    with pytest.raises(CheckpointError, match=r"holds steps \[2, 5, 6\], not 4"):
        run.meta(4)
    run.close()
