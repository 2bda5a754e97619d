"""DMA-Net: bags without an order, their statistics and sorted values, and the bags of an evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.baselines.dma_net import POOLS, in_order, statistics_of
from mtp.config import ConfigError
from mtp.data.batches.sizes import SizeRule, at_least
from mtp.data.batches.views import Canvas
from tests.baselines.networks import SIDE, build, drawn, once, picture, random_variables, view_of, written

SHOWN = [picture(60, 90), picture(40, 50, 1)]
Z = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)


def numbered(height, width):
    """No two pixels are the same."""
    number = np.arange(height * width).reshape(height, width)
    return np.stack([number % 256, number // 256, number % 7], axis=2).astype(np.uint8)


@pytest.mark.parametrize("patches", [4, 5])
def test_pools_are_those_of_numpy(patches):
    z = Z[:, :patches]
    expected = np.concatenate([z.min(1), z.max(1), np.median(z, axis=1), z.mean(1)], axis=1)
    np.testing.assert_allclose(statistics_of(jnp.asarray(z)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(in_order(jnp.asarray(z)), np.sort(z, axis=1).reshape(3, -1))


def test_a_single_patch_is_its_own_statistics_and_order():
    z = jnp.asarray(Z[:, :1])
    np.testing.assert_allclose(statistics_of(z), np.tile(Z[:, 0], (1, 4)), rtol=1e-6)
    np.testing.assert_array_equal(in_order(z), Z[:, 0])


def test_patches_that_are_the_same_have_no_order():
    z = jnp.tile(jnp.asarray(Z[:, :1]), (1, 5, 1))
    np.testing.assert_allclose(statistics_of(z), np.tile(Z[:, 0], (1, 4)), rtol=1e-6)
    np.testing.assert_array_equal(in_order(z), np.tile(Z[:, 0], (1, 5)))


@pytest.mark.parametrize("pool", POOLS)
def test_gradients_of_ties_are_finite(pool):
    z = jnp.zeros((2, 4, 3))
    weights = jnp.arange(POOLS[pool](z).size, dtype=jnp.float32).reshape(2, -1)
    assert jnp.isfinite(jax.grad(lambda z: jnp.sum(POOLS[pool](z) * weights))(z)).all()


@pytest.mark.parametrize("pool", POOLS)
def test_the_order_of_patches_changes_nothing(pool):
    model = build("dma_net", patch_pool=pool, patches=4)
    variables = random_variables(model)
    inputs = written(view_of(model, training=True), SHOWN, (SIDE, SIDE), [drawn(0), drawn(1)])
    permuted = {**inputs, "patches": inputs["patches"][:, [2, 0, 3, 1]]}
    logits = jax.jit(lambda v, i: model.logits(v, i)[0])
    one, other = logits(variables, inputs), logits(variables, permuted)
    for task in one:
        np.testing.assert_allclose(one[task], other[task], atol=1e-6, rtol=1e-6)
        assert not np.allclose(one[task][0], one[task][1])


def test_patches_are_windows_of_the_mirrored_picture_at_its_own_resolution():
    model, shown = build("dma_net", patches=3), numbered(60, 90)
    view = view_of(model, training=True, flip=True)
    tops, lefts = set(), set()
    for slot in range(60):
        for flip in (False, True):
            seen = shown[:, ::-1] if flip else shown
            found = written(view, [shown], (SIDE, SIDE), [drawn(slot, flip=flip)])
            assert found["patches"].shape == (1, 3, SIDE, SIDE, 3)
            for patch in found["patches"][0]:
                ((top, left),) = np.argwhere((seen == patch[0, 0]).all(axis=2))
                np.testing.assert_array_equal(patch, seen[top : top + SIDE, left : left + SIDE])
                tops.add(int(top))
                lefts.add(int(left))
    assert min(tops) == 0 and max(tops) == 60 - SIDE and len(tops) == 60 - SIDE + 1
    assert min(lefts) <= 1 and max(lefts) >= 90 - SIDE - 1


def test_a_short_side_is_enlarged_isotropically():
    model = build("dma_net", patches=2)
    shown = picture(24, 90)
    larger = at_least(shown, SIDE, SIDE)
    assert larger.shape[:2] == (33, 124)
    found = written(view_of(model, training=True), [shown], (SIDE, SIDE), [drawn()])["patches"][0]
    for patch in found:
        assert any((larger[:, left : left + SIDE] == patch).all() for left in range(124 - SIDE + 1))


def test_an_evaluation_looks_at_fixed_bags_wherever_a_picture_stands():
    model = build("dma_net", patches=3, bags=4)
    view = view_of(model, training=False)
    one = written(view, SHOWN, (SIDE, SIDE), [None, None])
    other = written(view, SHOWN[::-1], (SIDE, SIDE), [None, None], slots=3)
    assert one["patches"].shape == (2, 12, SIDE, SIDE, 3)
    for name in one:
        np.testing.assert_array_equal(one[name][0], other[name][1])
        np.testing.assert_array_equal(one[name][1], other[name][0])
    assert len({patch.tobytes() for patch in one["patches"][0]}) > 10


@pytest.mark.parametrize("pool", POOLS)
def test_logits_of_an_evaluation_are_the_mean_of_its_bags(pool):
    model = build("dma_net", patches=3, bags=4, patch_pool=pool)
    variables = random_variables(model)
    inputs = written(view_of(model, training=False), SHOWN, (SIDE, SIDE), [None, None])
    logits = jax.jit(lambda v, i: model.logits(v, i)[0])
    together = logits(variables, inputs)
    bags = [
        logits(variables, {name: x[:, 3 * bag : 3 * bag + 3] for name, x in inputs.items()})
        for bag in range(4)
    ]
    for task in together:
        np.testing.assert_allclose(
            together[task], np.mean([b[task] for b in bags], axis=0), rtol=1e-4, atol=1e-5
        )


def test_the_map_of_its_details_is_that_of_all_patches():
    model = build("dma_net", patches=2, bags=2)
    variables = random_variables(model)
    inputs = written(view_of(model, training=False), SHOWN, (SIDE, SIDE), [None, None], slots=3)
    found = once(model.details)(variables, inputs)
    assert found["map"].shape == (3, 4 * 8, 8, 12)
    assert found["map_sizes"].tolist() == [[32, 8], [32, 8], [0, 0]]


def test_a_batch_of_evaluation_takes_up_what_its_patches_do():
    """Batches hold as many pictures as eval.batch_pixels means."""
    model = build("dma_net", patches=3, bags=4)
    assert view_of(model, training=False).occupied(np.array([[64, 64]])).tolist() == [[12 * 63, 63]]
    assert view_of(model, training=True).occupied(np.array([[64, 64]])).tolist() == [[3 * 63, 63]]


@pytest.mark.parametrize("rule", ["native", "warp", "long"])
def test_other_size_rules_are_refused(rule):
    model = build("dma_net")
    with pytest.raises(ConfigError, match=rf"dma_net looks at squares .* must be crop=S, not {rule}"):
        model.view(Canvas(SizeRule(rule, 64.0, 32), model.reads))
