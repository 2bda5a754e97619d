"""MNA-CNN: pooling on grids by brute force, late combination, and canvases."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.baselines.mna_cnn import SubNets, bounded, mean
from mtp.ops.pyramid import spatial_pyramid
from tests.baselines.networks import build, once, picture

MAPS = np.random.default_rng(0).normal(size=(4, 7, 9, 3)).astype(np.float32)
SIZES = np.array([[7, 9], [5, 4], [2, 1], [0, 0]], np.int32)
SCENE = {"combine": "scene", "scenes": 4}


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 6])
def test_pooling_is_that_of_three_loops(grid):
    found = np.asarray(spatial_pyramid(jnp.asarray(MAPS), jnp.asarray(SIZES), (grid,), "max"))
    for i, (height, width) in enumerate(SIZES[:3]):
        inside = MAPS[i, 7 - height :, 9 - width :]
        for row in range(grid):
            for column in range(grid):
                rows = slice(row * height // grid, -(-(row + 1) * height // grid))
                columns = slice(column * width // grid, -(-(column + 1) * width // grid))
                for channel in range(3):
                    cell = found[i].reshape(grid, grid, 3)[row, column, channel]
                    assert cell == inside[rows, columns, channel].max()
        if grid == 1:
            np.testing.assert_array_equal(found[i], inside.max((0, 1)))
    assert not found[3].any()


def test_a_constant_map_is_constant_on_every_grid():
    x = jnp.full((1, 5, 5, 2), 0.7)
    found = spatial_pyramid(x, jnp.array([[4, 3]]), (6, 4, 3, 2, 1), "max")
    assert found.shape == (1, 66 * 2) and set(np.unique(found)) == {np.float32(0.7)}


def canvases(model, shown, height, width):
    """In the bottom-right corner, as far as the trunk reads them."""
    images, sizes = np.zeros((len(shown), height, width, 3), np.uint8), np.zeros((len(shown), 2), np.int32)
    for i, one in enumerate(shown):
        h, w = model.reads(np.array([one.shape[:2]]))[0]
        images[i, height - h :, width - w :], sizes[i] = one[:h, :w], (h, w)
    return {"images": images, "sizes": sizes}


@pytest.mark.parametrize("options", [{}, SCENE, {"dense_hidden": 0}], ids=str)
def test_a_mixed_batch_is_each_picture_alone(options):
    model = build("mna_cnn", **options)
    variables = once(model.init)(0)
    shown = [picture(33, 47), picture(64, 40, 1), picture(48, 64, 2)]
    logits = once(lambda v, i: model.logits(v, i)[0])
    together = canvases(model, [*shown, np.zeros((0, 0, 3), np.uint8)], 65, 65)
    together["sizes"][3] = 0
    found = logits(variables, together)
    for i, one in enumerate(shown):
        h, w = model.reads(np.array([one.shape[:2]]))[0]
        alone = logits(variables, canvases(model, [one], int(h), int(w)))
        for task in found:
            np.testing.assert_allclose(found[task][i], alone[task][0], rtol=1e-5, atol=1e-5)
    assert all(jnp.isfinite(x).all() for x in found.values())


def test_the_mean_is_of_probabilities_and_of_styles_logits():
    logits = [jnp.asarray(np.random.default_rng(seed).normal(size=(2, 5))) for seed in range(3)]
    expected = np.mean([jax.nn.softmax(one) for one in logits], axis=0)
    np.testing.assert_allclose(jnp.exp(mean("distribution", logits)), expected, rtol=1e-5)
    np.testing.assert_allclose(mean("style", logits), np.mean(logits, axis=0), rtol=1e-5)
    np.testing.assert_allclose(mean("two_category", logits[:1]), jax.nn.log_softmax(logits[0]), rtol=1e-5)
    assert jnp.isfinite(mean("distribution", [jnp.array([[1e4, -1e4]])] * 2)).all()


def test_scenes_and_the_sub_networks_probabilities_are_the_inputs_of_the_last_layer():
    outputs = {"distribution": 4, "style": 3}
    module = SubNets(outputs, (2, 1), 5, 6)
    x, sizes = jnp.asarray(MAPS), jnp.asarray(SIZES)
    variables: Any = module.init(jax.random.key(0), x, sizes)
    params = variables["params"]
    assert set(params) == {"grid_2", "grid_1", "scenes", "combined"}
    logits: Any = module.apply(variables, x, sizes)
    average = np.array([MAPS[0].mean((0, 1))])
    scenes = jax.nn.softmax(average @ params["scenes"]["kernel"] + params["scenes"]["bias"])
    for task, n in outputs.items():
        parts = []
        for grid in (2, 1):
            cells = spatial_pyramid(x[:1], sizes[:1], (grid,), "max")
            sub = params[f"grid_{grid}"]
            features = jax.nn.relu(cells @ sub["hidden"]["kernel"] + sub["hidden"]["bias"])
            parts.append(bounded(task, features @ sub[task]["kernel"] + sub[task]["bias"]))
        inputs = np.concatenate([*parts, scenes], axis=1)
        assert params["combined"][task]["kernel"].shape == (2 * n + 6, n)
        expected = inputs @ params["combined"][task]["kernel"] + params["combined"][task]["bias"]
        np.testing.assert_allclose(logits[task][0], expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, SCENE], ids=str)
def test_it_begins_at_a_histogram(options):
    model = build("mna_cnn", **options)
    histogram = [0.1, 0.2, 0.4, 0.2, 0.1]
    variables = once(model.init)(0)
    begun = {**variables, "params": model.begin(variables["params"], histogram)}
    logits, _ = once(model.logits)(begun, canvases(model, [picture(33, 47)], 33, 47))
    np.testing.assert_allclose(jax.nn.softmax(logits["distribution"])[0], histogram, atol=0.06)
