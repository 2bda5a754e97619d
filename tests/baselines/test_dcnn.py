"""RAPID's columns: two views, shared weights, and the style column."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.baselines.layers import pooled
from mtp.config import ConfigError
from mtp.data.batches.sizes import SizeRule, crop, warp
from mtp.data.batches.views import Canvas
from mtp.models.layers import BatchStatistics
from tests.baselines.networks import SIDE, build, drawn, once, picture, random_variables, view_of, written

SHOWN = [picture(60, 90), picture(40, 50, 1)]


def inputs_of(model):
    return written(view_of(model, training=True, rule="warp"), SHOWN, (SIDE, SIDE), [drawn(0), drawn(1)])


def test_an_evaluation_sees_the_warped_picture_and_its_middle():
    found = written(view_of(build("dcnn"), training=False, rule="warp"), SHOWN, (SIDE, SIDE), [None, None])
    for number, shown in enumerate(SHOWN):
        np.testing.assert_array_equal(found["images"][number], warp(shown, SIDE, SIDE))
        np.testing.assert_array_equal(found["local"][number], crop(shown, SIDE, SIDE))


def test_both_views_of_training_are_mirrored_together():
    view, shown = view_of(build("dcnn"), training=True, rule="warp", flip=True), SHOWN[0]
    plain, mirrored = (
        written(view, [one], (SIDE, SIDE), [drawn(flip=flip)])
        for one, flip in ((shown, False), (shown[:, ::-1], True))
    )
    for name in ("images", "local"):
        np.testing.assert_array_equal(plain[name], mirrored[name])
    assert (
        len({written(view, [shown], (SIDE, SIDE), [drawn(slot)])["local"].tobytes() for slot in range(8)})
        == 8
    )


def test_columns_have_weights_of_their_own_or_share_them():
    names = {"backbone", "hidden", "heads"}
    assert set(jax.eval_shape(build("dcnn", share_columns=True).init, 0)["params"]) == names
    assert set(jax.eval_shape(build("dcnn").init, 0)["params"]) == names | {"backbone_local", "hidden_local"}
    styled = jax.eval_shape(build("dcnn", style_column="joint").init, 0)["params"]
    assert {"backbone_style", "hidden_style", "heads_style"} <= set(styled)


def features_of(model, variables, inputs):
    return once(model.details)(variables, inputs)["features"]


def test_shared_columns_on_one_view_are_one_columns_features_twice():
    model = build("dcnn", share_columns=True)
    variables, inputs = random_variables(model), inputs_of(model)
    same = {**inputs, "local": inputs["images"]}
    features = features_of(model, variables, same)
    np.testing.assert_allclose(features[:, :8], features[:, 8:], rtol=1e-6)
    single = once(model.details)(variables, same)
    dense = variables["params"]["hidden"]
    column = jax.nn.relu(pooled(single["map"], single["map_sizes"]) @ dense["kernel"] + dense["bias"])
    np.testing.assert_allclose(features[:, :8], column, rtol=1e-4, atol=1e-5)
    other = features_of(model, variables, inputs)
    assert not np.allclose(other[:, :8], other[:, 8:])


def test_shared_columns_move_running_statistics_once():
    """By half of the way to those of both views together."""
    model = build("dcnn", share_columns=True)
    variables, inputs = random_variables(model), inputs_of(model)
    _, moved = once(lambda v, i: model.logits(v, i, BatchStatistics(0.5)))(variables, inputs)
    _, whole = once(lambda v, i: model.logits(v, i, BatchStatistics(0.0)))(variables, inputs)
    halves = jax.tree.map(lambda old, new: (old + new) / 2, variables["batch_stats"], whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), moved, halves)


@pytest.mark.parametrize("kind", ["joint", "frozen"])
def test_the_style_column_gives_the_logits_that_it_gives_alone(kind):
    model = build("dcnn", style_column=kind)
    variables, inputs = random_variables(model), inputs_of(model)
    params, stats = variables["params"], variables["batch_stats"]
    nima = build("nima", tasks=("style",))
    alone = {
        "params": {"backbone": params["backbone_style"], "heads": nima.init(0)["params"]["heads"]},
        "batch_stats": {"backbone": stats["backbone_style"]},
    }
    given = {"images": inputs["images"], "sizes": inputs["sizes"], "dropout": jnp.ones((2, 12))}
    features = jax.nn.relu(
        features_of(nima, alone, given) @ params["hidden_style"]["kernel"] + params["hidden_style"]["bias"]
    )
    dense = params["heads_style"]["style"]
    logits, _ = once(model.logits)(variables, inputs)
    np.testing.assert_allclose(
        logits["style"], features @ dense["kernel"] + dense["bias"], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(features_of(model, variables, inputs)[:, 16:], features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "passes"), [("joint", True), ("frozen", False)])
def test_gradients_of_other_tasks_into_the_style_column(kind, passes):
    model = build("dcnn", style_column=kind)
    variables, inputs = random_variables(model), inputs_of(model)

    def largest(task):
        def loss(params):
            logits, _ = model.logits({**variables, "params": params}, inputs, BatchStatistics(0.9))
            return jnp.sum(jnp.sin(logits[task]))

        found = once(jax.grad(loss))(variables["params"])
        return {
            name: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree)) for name, tree in found.items()
        }

    for task in ("distribution", "two_category"):
        found = largest(task)
        assert (found["backbone_style"] > 0) == (found["hidden_style"] > 0) == passes
        assert found["backbone"] > 0 and found["backbone_local"] > 0 and found["heads_style"] == 0
    found = largest("style")
    assert found["backbone_style"] > 0 and found["backbone"] == found["heads"] == 0


@pytest.mark.parametrize(
    "options", [{"styles": 0}, {"tasks": ("distribution",)}, {"tasks": ("style",)}], ids=str
)
def test_a_style_column_without_styles_is_an_error(options):
    with pytest.raises(
        ConfigError, match=r"model\.style_column=joint needs the task style, data with styles"
    ):
        build("dcnn", style_column="joint", **options)


def test_other_size_rules_are_refused():
    model = build("dcnn")
    with pytest.raises(
        ConfigError, match=r"dcnn looks at squares .* must be warp=S or crop=S or pad=S, not native"
    ):
        model.view(Canvas(SizeRule("native", 0.0, 32), model.reads))
    model.view(Canvas(SizeRule("native", 0.0, 32), model.reads, training=True))
