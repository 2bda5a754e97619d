"""Which checkpoints are kept, that they come back bit by bit, and that a wrong one is refused by name."""

import math
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

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


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of six saves, closed; step 2 is the best."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(folder)
    values = {1: 0.3, 2: 0.1, 3: math.nan, 4: 0.2, 5: None, 6: math.inf}
    for step, value in values.items():
        score = None if value is None else -value
        checkpoints.save(step, *state_of(step), {"config": {"lr": 0.1}, "at": step}, score=score)
    checkpoints.close()
    return folder


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


def flip_a_bit(item):
    """In the middle of an item's largest file."""
    data = max((p for p in item.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 1
    data.write_bytes(raw)


@pytest.mark.parametrize("item", ["model", "training"])
def test_flipped_bits_are_noticed(item, finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    flip_a_bit(copy / "6" / item)
    run = Checkpoints(copy, read_only=True)
    with pytest.raises(
        CheckpointError, match=rf"6 is damaged: its {item}.*checksum.*Delete this step's folder"
    ):
        run.restore(*abstract(state_of(0)))
    shutil.rmtree(copy / "6")
    run = Checkpoints(copy, read_only=True)
    *state, _ = run.restore(*abstract(state_of(0)))
    assert_same_bits(tuple(state), state_of(5))
    run.close()


def test_a_changed_digit_of_the_meta_is_noticed(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    path = copy / "6" / "meta" / "metadata"
    text = path.read_text()
    assert '"lr": 0.1' in text
    path.write_text(text.replace('"lr": 0.1', '"lr": 0.2'))
    run = Checkpoints(copy, read_only=True)
    model, training = abstract(state_of(0))
    for read in (run.meta, lambda: run.restore_model(model), lambda: run.restore(model, training)):
        with pytest.raises(CheckpointError, match=r"6 is damaged: its meta does not have the checksum"):
            read()
    assert run.meta(5)["at"] == 5
    run.close()


def test_what_predicts_is_read_without_the_rest(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    shutil.rmtree(copy / "6" / "training")
    run = Checkpoints(copy, read_only=True)
    model, meta = run.restore_model(abstract(state_of(0))[0])
    assert_same_bits(model, state_of(6)[0])
    assert meta["at"] == 6
    run.close()


def test_a_checkpoint_of_the_earlier_form_is_refused_in_a_line(tmp_path):
    """It had the items state and meta, and one checksum."""
    earlier = ocp.CheckpointManager(tmp_path / "a", item_names=("state", "meta"))
    state = {"params/kernel": jnp.ones((2, 3)), "step": jnp.int32(4)}
    content = ocp.args.Composite(
        state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave({"at": 4, "state_sha256": "0" * 64})
    )
    earlier.save(4, args=content)
    earlier.close()
    run = Checkpoints(tmp_path / "a", read_only=True)
    model, training = abstract(state_of(0))
    for read in (run.meta, lambda: run.restore_model(model), lambda: run.restore(model, training)):
        with pytest.raises(
            CheckpointError, match=r"4 was saved by an earlier version.*train again"
        ) as caught:
            read()
        assert "\n" not in str(caught.value)
    run.close()


@pytest.mark.parametrize(
    "scores", [(-0.3, -0.1, -0.2, -0.4), (0.5, 0.9, 0.8, 0.1)], ids=["losses", "accuracies"]
)
def test_the_best_has_the_highest_score(scores, tmp_path):
    run = Checkpoints(tmp_path / "a")
    for step, score in enumerate(scores, 1):
        run.save(step, *state_of(step), {"at": step}, score=score)
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


def test_a_save_that_was_cut_short_does_not_count_and_is_cleaned_up(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    junk = copy / "9.orbax-checkpoint-tmp"
    shutil.copytree(copy / "6", junk)
    reader = Checkpoints(copy, read_only=True)
    assert reader.latest_step() == 6
    assert junk.exists()
    reader.close()
    writer = Checkpoints(copy)
    writer.save(7, *state_of(7), {})
    assert writer.best_step() == 2
    writer.close()
    assert not junk.exists()
    assert steps_in(copy) == [2, 6, 7]


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
        run.save(step, *state_of(step), {}, score=value)
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
