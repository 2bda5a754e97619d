"""What every baseline promises: batches, empty slots, groups, published weights, the first histogram, last layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.config import ConfigError
from mtp.models.backbones import BACKBONES
from mtp.models.layers import BatchStatistics
from tests.baselines.networks import (
    SIDE,
    build,
    drawn,
    once,
    picture,
    random_variables,
    training_batches,
    view_of,
    written,
)
from tests.runs import SMALL

NAMES = ("nima", "dma_net", "dcnn", "mna_cnn")
SMALLER = {"patches": 2, "bags": 2, "grids": (2, 1)}
LINEAR = [
    ("nima", {}),
    ("dma_net", {"dense_hidden": 0}),
    ("dma_net", {"dense_hidden": 0, "patch_pool": "sort"}),
    ("dcnn", {"dense_hidden": 0}),
    ("dcnn", {"dense_hidden": 0, "share_columns": True}),
]
SHOWN = [picture(60, 90), picture(40, 50, 1)]
EVERY = pytest.mark.parametrize("name", NAMES)


def fit_of(name):
    return "crop" if name == "dma_net" else "warp"


def evaluation_inputs(model, name, slots=None):
    view = view_of(model, training=False, rule=fit_of(name))
    return written(view, SHOWN, (SIDE, SIDE), [None, None], slots)


@EVERY
def test_batches_are_a_pure_function_of_seed_and_step(name):
    model = build(name, **SMALLER)
    shown = [picture(40 + n, 50, n) for n in range(7)]
    plan, batches = training_batches(model, shown, fit=fit_of(name))
    _, others = training_batches(model, shown, fit=fit_of(name))
    assert plan.steps_per_epoch == 2
    seen = []
    for step in (1, 0, 3):
        one, again = batches.load(step)["inputs"], others.load(step)["inputs"]
        spec = batches.spec(plan.batch(step).shape)["inputs"]
        for array, values in one.items():
            np.testing.assert_array_equal(values, again[array])
            assert (values.shape, values.dtype) == tuple(spec[array])
        seen.append({array: values.tobytes() for array, values in one.items()})
    first = next(array for array in seen[0] if array in ("images", "patches"))
    assert len({each[first] for each in seen}) == 3


@EVERY
def test_a_turned_batch_has_arrays_of_the_same_shapes(name):
    """Squares stand one below the other on the plan's canvas, and side by side after a quarter turn."""
    view = view_of(build(name, **SMALLER), training=True, rule=fit_of(name))
    canvas = tuple(int(n) for n in view.occupied(np.array([[SIDE, SIDE]]))[0])
    assert view.spec(canvas) == view.spec(canvas[::-1])


@EVERY
@pytest.mark.parametrize("statistics", [None, BatchStatistics(0.5)], ids=["running", "batch"])
def test_empty_slots_change_nothing(name, statistics):
    model = build(name, **SMALLER)
    variables = random_variables(model)
    logits = jax.jit(lambda v, i: model.logits(v, i, statistics))
    one, moved = logits(variables, evaluation_inputs(model, name))
    more, moved_more = logits(variables, evaluation_inputs(model, name, slots=5))
    for task in one:
        np.testing.assert_allclose(one[task], more[task][:2], rtol=1e-4, atol=1e-5)
        assert jnp.isfinite(more[task]).all()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), moved, moved_more)


@EVERY
def test_logits_of_every_task_are_float32(name):
    for options in ({}, {"dense_hidden": 0}, {"dtype": "bfloat16"}, {"backbone": ("small", "small")}):
        model = build(name, **{**SMALLER, **options})
        inputs = evaluation_inputs(model, name)
        variables = jax.eval_shape(model.init, 0)
        found = jax.eval_shape(lambda v, i, m=model: m.logits(v, i)[0], variables, inputs)
        shapes = {task: (x.shape, x.dtype.name) for task, x in found.items()}
        assert shapes == {
            "distribution": ((2, 5), "float32"),
            "two_category": ((2, 2), "float32"),
            "style": ((2, 3), "float32"),
        }
        groups = model.group_of_parameters(variables["params"])
        for tree, of_tree in groups.items():
            expected = "trunk" if tree.startswith("backbone") else "heads"
            assert set(jax.tree.leaves(of_tree)) == {expected}


@EVERY
@pytest.mark.parametrize("backbone", ["tiny", "lite0", ("tiny", "tiny")], ids=str)
def test_it_stands_on_any_trunk(name, backbone):
    """As shapes: nothing is computed."""
    model = build(name, **SMALLER, backbone=backbone)
    names = (backbone,) if isinstance(backbone, str) else backbone
    channels = sum(BACKBONES[each].channels for each in names)
    view = view_of(model, training=True, rule=fit_of(name), side=64)
    spec = view.spec(tuple(int(n) for n in view.occupied(np.array([[64, 64]]))[0]))
    inputs = {array: jax.ShapeDtypeStruct((2, *each.shape), each.dtype) for array, each in spec.items()}
    variables = jax.eval_shape(model.init, 0)
    found = jax.eval_shape(model.details, variables, inputs)
    assert found["map"].shape[3] == channels
    logits = jax.eval_shape(lambda v, i: model.logits(v, i)[0], variables, inputs)
    assert logits["distribution"].shape == (2, 5)


@EVERY
def test_published_weights_go_to_every_trunk_and_nowhere_else(name, monkeypatch):
    def load(variables, weights):
        return jax.tree.map(lambda x: x + 1, variables)

    monkeypatch.setitem(BACKBONES, "small", dataclasses.replace(SMALL, load=load))
    model = build(name, **SMALLER, style_column="joint")
    before = once(model.init)(0)
    after = model.load(before, "some.h5")
    for kind in ("params", "batch_stats"):
        for tree, values in before[kind].items():
            shift = 1 if tree.startswith("backbone") else 0
            jax.tree.map(
                lambda a, b, s=shift: np.testing.assert_allclose(a, b + s), after[kind][tree], values
            )


@EVERY
def test_the_distribution_begins_at_a_histogram(name):
    model = build(name, **SMALLER)
    histogram = [0.1, 0.2, 0.4, 0.2, 0.1]
    variables = once(model.init)(0)
    begun = {**variables, "params": model.begin(variables["params"], histogram)}
    logits, _ = once(model.logits)(begun, evaluation_inputs(model, name))
    np.testing.assert_allclose(jax.nn.softmax(logits["distribution"]), [histogram] * 2, atol=0.08)
    styled = build(name, **SMALLER, tasks=("style",))
    params = jax.eval_shape(styled.init, 0)["params"]
    assert styled.begin(params, histogram) == params


@EVERY
def test_a_network_without_a_task_is_an_error(name):
    with pytest.raises(ConfigError, match=r"model\.tasks must hold a task that the data has labels for"):
        build(name, styles=0, tasks=("style",))


@pytest.mark.parametrize(("name", "options"), LINEAR, ids=str)
def test_last_layers_are_the_logits_of_the_features(name, options):
    model = build(name, **{**SMALLER, **options})
    variables, inputs = random_variables(model), evaluation_inputs(model, name)
    assert model.last_layers is not None
    features = np.asarray(once(model.last_layers.features)(variables, inputs))
    rng = np.random.default_rng(0)
    layers = {
        task: (rng.normal(size=(features.shape[1], n)), rng.normal(size=n))
        for task, n in model.outputs.items()
    }
    params = model.last_layers.replaced(variables["params"], layers)
    assert jax.tree.structure(params) == jax.tree.structure(variables["params"])
    logits, _ = once(model.logits)({**variables, "params": params}, inputs)
    directly = model.last_layers.logits(params, jnp.asarray(features))
    assert directly.keys() == logits.keys()
    for task, (kernel, bias) in layers.items():
        np.testing.assert_allclose(logits[task], features @ kernel + bias, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(directly[task], logits[task], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dma_net", {}),
        ("dcnn", {}),
        ("mna_cnn", {"dense_hidden": 0}),
        ("dcnn", {"dense_hidden": 0, "style_column": "joint"}),
    ],
    ids=str,
)
def test_what_is_not_linear_has_no_last_layers(name, options):
    assert build(name, **{**SMALLER, **options}).last_layers is None


@EVERY
def test_the_details_of_a_picture_are_a_map_and_its_sizes(name):
    """`Predictor.features` is the mean over the map's cells."""
    model = build(name, **SMALLER)
    found = once(model.details)(random_variables(model), evaluation_inputs(model, name))
    assert found["map"].shape[0] == 2 and found["map"].shape[3] == 12
    assert found["map"].shape[1:3] == tuple(found["map_sizes"][0])


@EVERY
def test_an_evaluation_draws_nothing(name):
    model = build(name, **SMALLER)
    one, again = evaluation_inputs(model, name), evaluation_inputs(model, name)
    trained = written(
        view_of(model, training=True, rule=fit_of(name)), SHOWN, (SIDE, SIDE), [drawn(0), drawn(1)]
    )
    assert one.keys() == again.keys() == trained.keys()
    for array in one:
        np.testing.assert_array_equal(one[array], again[array])
