"""Which checkpoints are kept, that they come back bit by bit, and that a wrong one is refused by name."""

import math
import re
import shutil
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.runtime.checkpoint import CheckpointError, Checkpoints
from mtp.runtime.mesh import data_mesh, replicated


class State(flax.struct.PyTreeNode):
    step: Any
    params: Any
    average: Any


def state_of(step, outputs=10):
    draw = np.random.default_rng(step).normal
    kernel = jnp.array(draw(size=(300, outputs)), jnp.float32)
    half = jnp.array(draw(size=5), jnp.bfloat16)
    return State(
        step=jnp.int32(step),
        params={"backbone": {"norm/scale": half}, "heads": [{"kernel": kernel}, ()]},
        average=None,
    )


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
        checkpoints.save(step, state_of(step), {"config": {"lr": 0.1}, "at": step}, emd_r2=value)
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
    state, meta = run.restore(abstract(state_of(0)), step)
    wanted = step or 6
    assert_same_bits(state, state_of(wanted))
    assert meta == run.meta(step) == {"config": {"lr": 0.1}, "at": wanted}
    assert all(leaf.sharding == replicated(data_mesh(1)) for leaf in jax.tree.leaves(state))
    run.close()


def test_restoring_writes_nothing(finished):
    before = sorted(finished.rglob("*"))
    run = Checkpoints(finished, read_only=True)
    run.restore(abstract(state_of(0)))
    with pytest.raises(CheckpointError, match="read-only"):
        run.save(7, state_of(7), {})
    run.close()
    assert sorted(finished.rglob("*")) == before


def test_another_number_of_classes_is_an_error_with_both_shapes(finished):
    run = Checkpoints(finished, read_only=True)
    expected = "params/heads/0/kernel: stored float32(300, 10), wanted float32(300, 7)"
    with pytest.raises(CheckpointError, match=re.escape(expected)) as caught:
        run.restore(abstract(state_of(0, outputs=7)))
    assert "1 differ" in str(caught.value)
    run.close()


def test_missing_and_left_over_arrays_and_another_type_are_errors_by_name(finished):
    run = Checkpoints(finished, read_only=True)
    half = jnp.zeros(5, jnp.float16)
    other = State(step=jnp.int32(0), params={"backbone": {"norm/scale": half}}, average={"a": jnp.zeros(())})
    with pytest.raises(CheckpointError, match="3 differ") as caught:
        run.restore(abstract(other))
    for line in (
        "params/backbone/norm/scale: stored bfloat16(5,), wanted float16(5,)",
        "average/a: stored nothing, wanted float32()",
        "params/heads/0/kernel: stored float32(300, 10), wanted nothing",
    ):
        assert line in str(caught.value)
    run.close()


def test_flipped_bits_are_noticed(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    data = max((p for p in (copy / "6" / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 1
    data.write_bytes(raw)
    run = Checkpoints(copy, read_only=True)
    with pytest.raises(CheckpointError, match=r"6 is damaged.*checksum.*Delete this step's folder"):
        run.restore(abstract(state_of(0)))
    shutil.rmtree(copy / "6")
    run = Checkpoints(copy, read_only=True)
    assert_same_bits(run.restore(abstract(state_of(0)))[0], state_of(5))
    run.close()


def test_the_state_may_be_given_away_at_once(tmp_path):
    """The training step donates the state that is being saved."""
    run = Checkpoints(tmp_path / "a")
    state = state_of(1)
    run.save(1, state, {})
    jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)(state)
    restored, _ = run.restore(abstract(state_of(0)))
    assert_same_bits(restored, state_of(1))
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
    writer.save(7, state_of(7), {})
    assert writer.best_step() == 2
    writer.close()
    assert not junk.exists()
    assert steps_in(copy) == [2, 6, 7]


def test_an_earlier_step_is_refused_and_the_same_step_is_left_alone(tmp_path):
    run = Checkpoints(tmp_path / "a")
    run.save(5, state_of(5), {"first": True})
    run.save(5, state_of(6), {"first": False})
    with pytest.raises(CheckpointError, match=r"step 3 was not saved.*holds steps \[5\]"):
        run.save(3, state_of(3), {})
    state, meta = run.restore(abstract(state_of(0)))
    assert meta == {"first": True}
    assert_same_bits(state, state_of(5))
    run.close()


@pytest.mark.parametrize("value", [None, math.nan])
def test_without_any_finite_value_the_latest_is_the_best_even_after_closing(tmp_path, value):
    run = Checkpoints(tmp_path / "a")
    for step in (1, 2, 3):
        run.save(step, state_of(step), {}, emd_r2=value)
    run.close()
    assert run.best_step() == 3
    assert steps_in(tmp_path / "a") == [2, 3]


def test_an_empty_run_and_a_step_that_is_not_there_are_errors(finished, tmp_path):
    empty = Checkpoints(tmp_path / "nothing", read_only=True)
    assert empty.latest_step() is None
    assert empty.best_step() is None
    with pytest.raises(CheckpointError, match="must hold a checkpoint, but it has none"):
        empty.restore(abstract(state_of(0)))
    assert not (tmp_path / "nothing").exists()
    run = Checkpoints(finished, read_only=True)
    with pytest.raises(CheckpointError, match=r"holds steps \[2, 5, 6\], not 4"):
        run.meta(4)
    run.close()
