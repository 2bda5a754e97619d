import tracemalloc

import numpy as np
import pytest

from mtp.config import get_config
from mtp.data.batches import buckets
from mtp.data.batches.plan import TrainPlan
from mtp.data.batches.sizes import SizeRule
from mtp.data.batches.streams import stream
from mtp.data.batches.views import Canvas
from mtp.data.schema import DataError
from mtp.models.backbones import odd_sides
from mtp.models.model import every_line

N, FIRST = 53, 100  # pictures; position of the first in the data set
NATIVE = SizeRule("native", 0.0, 32)
VIEW = Canvas(NATIVE, odd_sides)


def planned(config, sizes, view=VIEW):
    """The plan of all pictures of these sizes."""
    return TrainPlan.from_config(config, np.arange(len(sizes)), sizes, view)


def make(order="buckets", seed=0, n=N, **changes):
    config = get_config()
    config.seed = seed
    config.input.update({"order": order, "batch_size": 8, **changes})
    sizes = np.random.default_rng(1).integers(20, 200, (FIRST + n, 2)).astype(np.int32)
    return sizes, TrainPlan.from_config(config, np.arange(FIRST, FIRST + n), sizes, VIEW)


def bucket_of(plan, batch):
    """Position in plan.sizes of the batch's size before its turn."""
    return plan.sizes.index(batch.size[::-1] if batch.turns % 2 else batch.size)


def same(a, b):
    assert (a.step, a.size, a.shape, a.turns) == (b.step, b.size, b.shape, b.turns)
    np.testing.assert_array_equal(a.indices, b.indices)


@pytest.mark.parametrize("order", ["buckets", "cycle", "native"])
def test_each_picture_exactly_once_an_epoch(order):
    _, plan = make(order)
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        batches = [plan.batch(step) for step in steps]
        seen = np.concatenate([b.indices for b in batches])
        assert sorted(seen[seen >= 0]) == list(range(FIRST, FIRST + N))
        for b in batches:
            assert b.indices.shape == (8,)
            assert (np.diff((b.indices >= 0).astype(int)) <= 0).all()  # fillers last
            assert (b.indices >= 0).any()
            assert b.shape in plan.shapes


@pytest.mark.parametrize("order", ["buckets", "cycle", "native"])
def test_a_step_depends_on_no_other(order):
    _, plan = make(order, quarter_turns=order != "native")
    _, fresh = make(order, quarter_turns=order != "native")
    forward = [plan.batch(step) for step in range(40)]
    for step in reversed(range(40)):
        same(fresh.batch(step), forward[step])


def test_order_and_company_differ_between_epochs_and_seeds():
    _, plan = make()
    _, other = make(seed=1)
    k = plan.steps_per_epoch

    def batches(p, epoch):
        return {frozenset(p.batch(epoch * k + step).indices.tolist()) for step in range(k)}

    assert batches(plan, 0) != batches(plan, 1)
    assert batches(plan, 0) != batches(other, 0)


def test_batches_of_buckets_hold_their_own_pictures():
    sizes, plan = make()
    nearest = buckets.nearest_bucket(sizes, plan.sizes)
    shuffled = []
    for step in range(plan.steps_per_epoch):
        batch = plan.batch(step)
        bucket = bucket_of(plan, batch)
        assert set(nearest[batch.indices[batch.indices >= 0]]) == {bucket}
        assert batch.shape == tuple(odd_sides(np.array([batch.size]))[0])
        shuffled.append(bucket)
    assert shuffled != sorted(shuffled)
    assert plan.steps_per_epoch == sum(-(-int(c) // 8) for c in np.bincount(nearest[FIRST:]))


def test_cycle_takes_one_size_an_epoch():
    _, plan = make("cycle")
    assert plan.steps_per_epoch == -(-N // 8)
    for step in range(4 * plan.steps_per_epoch):
        assert plan.batch(step).size == plan.sizes[(step // plan.steps_per_epoch) % 3]


def enlarged(sizes):
    """Each picture with a side under 32 pixels, isotropically at 32."""
    return np.round(sizes * np.maximum(1, 32 / sizes.min(axis=1, keepdims=True))).astype(int)


def test_native_warps_nothing_and_fits_canvases():
    sizes, plan = make("native", canvases=4)
    assert (sizes[FIRST:] < 32).any()  # small pictures are enlarged, and their canvases know it
    assert len(plan.shapes) <= 4
    for step in range(plan.steps_per_epoch):
        batch = plan.batch(step)
        real = batch.indices[batch.indices >= 0]
        assert batch.size is None
        assert (odd_sides(enlarged(sizes[real])) <= batch.shape).all()


def test_native_canvases_hold_enlarged_pictures():
    config = get_config()
    config.input.order = "native"
    sizes = np.full((3, 2), (20, 40))
    assert planned(config, sizes).shapes == [(31, 63)]


def test_quarter_turns_carry_the_whole_batch():
    sizes, plan = make(quarter_turns=True)
    nearest = buckets.nearest_bucket(sizes, plan.sizes)
    turns = set()
    for step in range(60):
        batch = plan.batch(step)
        assert set(nearest[batch.indices[batch.indices >= 0]]) == {bucket_of(plan, batch)}
        assert batch.shape == tuple(odd_sides(np.array([batch.size]))[0])
        turns.add(batch.turns)
    assert turns == {0, 1, 2, 3}
    assert sorted(plan.shapes) == [(223, 223), (223, 335), (335, 223)]


def test_turning_changes_no_membership():
    plain, turned = make()[1], make(quarter_turns=True)[1]
    for step in range(20):
        np.testing.assert_array_equal(plain.batch(step).indices, turned.batch(step).indices)
        assert plain.batch(step).turns == 0


def test_only_shapes_that_occur_are_compiled():
    config = get_config()
    sizes = np.full((9, 2), (400, 500))
    assert planned(config, sizes).shapes == [(223, 335)]
    config.input.order = "cycle"
    assert len(planned(config, sizes).shapes) == 3


def test_streams_are_named():
    assert stream(0, "order", 1).integers(2**60) == stream(0, "order", 1).integers(2**60)
    draws = [
        stream(*key).integers(2**60)
        for key in [(0, "order", 1), (0, "order", 11), (0, "order", 1, 1), (0, "augment", 1), (1, "order", 1)]
    ]
    assert len(set(draws)) == len(draws)


def test_order_is_stable_golden():
    assert make()[1].batch(0).indices.tolist() == [100, 137, 110, 150, 145, 118, 104, 134]


def test_ava_in_little_memory():
    n = 255_530
    sizes = np.random.default_rng(0).integers(200, 800, (n, 2)).astype(np.int32)
    tracemalloc.start()
    plan = planned(get_config(), sizes)
    plan.batch(0), plan.batch(plan.steps_per_epoch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("order", ["buckets", "cycle", "native"])
def test_a_network_that_reads_every_line_gets_canvases_of_whole_sizes(order):
    config = get_config()
    config.input.update({"order": order, "sizes": ((50, 60), (61, 43))})
    sizes = np.array([[60, 82], [91, 64]])
    whole = {"buckets": [(50, 60), (61, 43)], "cycle": [(50, 60), (61, 43)], "native": [(60, 82), (91, 64)]}
    assert planned(config, sizes, Canvas(NATIVE, every_line)).shapes == whole[order]
    odd = sorted(tuple(int(side) for side in size) for size in odd_sides(np.array(whole[order])))
    assert planned(config, sizes).shapes == odd


def test_native_canvases_are_of_the_sizes_that_the_views_rule_gives():
    config = get_config()
    config.input.order = "native"
    sizes = np.array([[300, 600], [601, 300], [100, 100]])
    view = Canvas(SizeRule("long", 200.0, 32), every_line)
    assert planned(config, sizes, view).shapes == [(100, 200), (200, 100), (200, 200)]


def test_no_pictures():
    with pytest.raises(DataError, match="at least one picture"):
        make(n=0)
