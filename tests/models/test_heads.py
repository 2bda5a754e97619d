"""Columns and heads over maps of any valid size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.models.heads import Cascade, FcnColumn, GapColumn, SppColumn, mean_logits, starting_at
from mtp.runtime.settings import compiler_options

OUTPUTS = {"distribution": 10, "two_category": 2, "style": 14}
SIZES = jnp.array([[3, 5], [1, 1], [4, 2], [0, 0]], jnp.int32)
MAPS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4, 5, 24)).astype(np.float32))


def once(function):
    """Jitted to run a single time."""
    return jax.jit(function, compiler_options=compiler_options(run_once=True))


def run(module, x=MAPS, sizes=SIZES):
    # "rbg" compiles faster than the default generator, as in `Model.init`
    variables = once(module.init)(jax.random.key(0, impl="rbg"), x, sizes)
    return once(module.apply)(variables, x, sizes), variables


def cells_of(column, variables):
    """The logits of each cell."""
    sowing = once(functools.partial(column.apply, mutable=["intermediates"]))
    (cells,) = sowing(variables, MAPS, SIZES)[1]["intermediates"]["cells"]
    return cells


@pytest.mark.parametrize(
    "column",
    [GapColumn(OUTPUTS), FcnColumn(OUTPUTS), FcnColumn(OUTPUTS, 0), FcnColumn(OUTPUTS, 8, "softmax"),
     SppColumn(OUTPUTS), SppColumn(OUTPUTS, (1, 2), "average")],
    ids=["gap", "fcn", "fcn without hidden", "fcn mean of softmax", "spp", "spp average"],
)  # fmt: skip
def test_each_picture_alone_gives_the_same_logits(column):
    together, variables = run(column)
    assert {task: x.shape for task, x in together.items()} == {t: (4, n) for t, n in OUTPUTS.items()}
    for i, (h, w) in enumerate(np.asarray(SIZES[:3])):
        alone = once(column.apply)(variables, MAPS[i : i + 1, 4 - h :, 5 - w :], SIZES[i : i + 1])
        for task in OUTPUTS:
            np.testing.assert_allclose(together[task][i], alone[task][0], rtol=1e-4, atol=1e-5)
    assert all(jnp.isfinite(x).all() for x in together.values())  # an empty slot too


def test_fcn_without_a_hidden_layer_is_global_average_pooling_and_a_dense_layer():
    fcn, variables = run(FcnColumn(OUTPUTS, hidden=0))
    params = {t: {"kernel": p["kernel"][0, 0], "bias": p["bias"]} for t, p in variables["params"].items()}
    gap = once(GapColumn(OUTPUTS).apply)({"params": params}, MAPS, SIZES)
    for task in OUTPUTS:
        np.testing.assert_allclose(fcn[task], gap[task], rtol=1e-4, atol=1e-5)


def test_mean_of_softmax_is_the_mean_of_the_cells_distributions():
    logits, variables = run(FcnColumn(OUTPUTS, 0, "softmax"))
    kernel, bias = (variables["params"]["distribution"][name] for name in ("kernel", "bias"))
    cells = jax.nn.softmax(MAPS[0, 1:, :] @ kernel[0, 0] + bias)
    np.testing.assert_allclose(jnp.exp(logits["distribution"][0]), cells.mean((0, 1)), rtol=1e-4)


def test_spp_has_26_cells():
    _, variables = run(SppColumn(OUTPUTS))
    assert variables["params"]["style"]["kernel"].shape == (26 * 24, 14)


def test_columns_are_combined_by_the_mean_of_their_logits():
    one, two = ({"distribution": jnp.full((1, 3), value)} for value in (1.0, 5.0))
    np.testing.assert_array_equal(mean_logits([one, two])["distribution"], 3)


def test_cascade_passes_simpler_tasks_on():
    logits = {task: jnp.zeros((2, n)) for task, n in OUTPUTS.items()}
    module = Cascade()
    variables = once(module.init)(jax.random.key(0, impl="rbg"), logits)
    apply = once(module.apply)
    before = apply(variables, logits)
    styled = apply(variables, {**logits, "style": jnp.ones((2, 14))})
    assert jnp.abs(styled["two_category"] - before["two_category"]).max() > 0
    assert jnp.abs(styled["distribution"] - before["distribution"]).max() > 0
    rated = apply(variables, {**logits, "distribution": jnp.ones((2, 10))})
    np.testing.assert_array_equal(rated["style"], before["style"])
    np.testing.assert_array_equal(rated["two_category"], before["two_category"])


@pytest.mark.parametrize("fcn", [FcnColumn(OUTPUTS, 8), FcnColumn(OUTPUTS, 8, "softmax")])
def test_every_picture_begins_near_the_given_histogram(fcn):
    histogram = np.array([0, 0.01, 0.03, 0.1, 0.26, 0.3, 0.2, 0.07, 0.02, 0.01])
    columns = {"fcn": fcn, "spp": SppColumn(OUTPUTS)}
    found = {name: run(column)[1]["params"] for name, column in columns.items()}
    cascade = {"distribution": {"kernel": jnp.zeros((16, 10))}}
    begun = starting_at(found | {"cascade": cascade}, histogram.tolist())
    assert begun["cascade"] is cascade
    logits = mean_logits([once(c.apply)({"params": begun[name]}, MAPS, SIZES) for name, c in columns.items()])
    np.testing.assert_allclose(
        jax.nn.softmax(logits["distribution"])[:3], np.tile(histogram, (3, 1)), atol=0.05
    )
    # nothing else is touched
    for name in columns:
        np.testing.assert_array_equal(begun[name]["style"]["bias"], found[name]["style"]["bias"])
        np.testing.assert_array_equal(
            begun[name]["distribution"]["kernel"], found[name]["distribution"]["kernel"]
        )
    # the state is donated: no array may stand in it twice
    assert begun["fcn"]["distribution"]["bias"] is not begun["spp"]["distribution"]["bias"]


@pytest.mark.parametrize(
    "column",
    [GapColumn(OUTPUTS), FcnColumn(OUTPUTS), FcnColumn(OUTPUTS, 0)],
    ids=["gap", "fcn", "fcn linear"],
)
def test_the_logits_are_the_mean_of_the_cells_logits(column):
    logits, variables = run(column)
    cells = cells_of(column, variables)
    for task in OUTPUTS:
        for i, (h, w) in enumerate(np.asarray(SIZES[:3])):
            inside = cells[task][i, 4 - h :, 5 - w :]
            np.testing.assert_allclose(inside.mean((0, 1)), logits[task][i], rtol=1e-4, atol=1e-5)


def test_the_mean_of_the_cells_probabilities_is_the_softmax_columns_distribution():
    column = FcnColumn(OUTPUTS, 8, "softmax")
    logits, variables = run(column)
    cells = cells_of(column, variables)
    mean = jax.nn.softmax(cells["style"][0, 1:]).mean((0, 1))
    np.testing.assert_allclose(mean, jax.nn.softmax(logits["style"][0]), rtol=1e-4)
