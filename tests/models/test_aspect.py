"""The aspect ratio as a number beside warped pictures: the view's, the channels', and what they can tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.config import get_config
from mtp.data.batches.sizes import FITS, SizeRule
from mtp.data.batches.views import Canvas, Draw, WithAspect, empty_batch, slot_of
from mtp.models import mtp_nasnet


def built(columns, aspect=True):
    config = get_config().model
    config.backbone, config.columns, config.aspect, config.fcn_hidden = "tiny", columns, aspect, 0
    return mtp_nasnet.build(config, 5, 0)


def written(shapes, draws=None, side=63):
    view = WithAspect(Canvas(SizeRule("warp", float(side), 32), lambda sizes: sizes, FITS["warp"]))
    batch = empty_batch(view.spec((side, side)), len(shapes) + 1)
    for number, shape in enumerate(shapes):
        picture = np.random.default_rng(number).integers(0, 256, (*shape, 3), np.uint8)
        view.write(slot_of(batch, number), picture, (side, side), draws[number] if draws else None)
    return batch


def test_the_view_tells_the_shape_that_a_picture_had():
    turned = [Draw(0, 0, n, np.ones(2), turns) for n, turns in enumerate((0, 1, 2, 3))]
    batch = written([(40, 80)] * 4, turned)
    expected = np.log(2) * np.array([1, -1, 1, -1, 0])
    np.testing.assert_allclose(batch["aspect"][:, 0], expected, rtol=1e-6)
    assert batch["sizes"].tolist() == [[63, 63]] * 4 + [[0, 0]]


@pytest.mark.parametrize("columns", [("gap",), ("spp",), ("fcn",), ("fcn", "spp")])
def test_every_column_sees_it_and_nothing_else_differs(columns):
    model, plain = built(columns), built(columns, aspect=False)
    variables = model.init(0)
    batch = {name: jnp.asarray(array) for name, array in written([(40, 80), (90, 50)]).items()}
    other = {**batch, "aspect": batch["aspect"] + jnp.array([[0.0], [0.5], [0.0]])}
    run = jax.jit(lambda inputs: model.logits(variables, inputs)[0]["distribution"])
    here, there = run(batch), run(other)
    np.testing.assert_array_equal(here[0], there[0])
    assert jnp.abs(here[1] - there[1]).max() > 1e-4
    # without weights on the two channels it is the network without them
    fewer = jax.tree.map(
        lambda ours, theirs: ours if ours.shape == theirs.shape else _without(ours, theirs.shape),
        variables["params"],
        plain.init(0)["params"],
    )
    zeroed = jax.tree.map(
        lambda ours, small: ours if ours.shape == small.shape else _padded(small, ours.shape),
        variables["params"],
        fewer,
    )
    given = {"images": batch["images"], "sizes": batch["sizes"]}
    expected, _ = plain.logits({**variables, "params": fewer}, given)
    mine, _ = model.logits({**variables, "params": zeroed}, batch)
    np.testing.assert_allclose(mine["distribution"], expected["distribution"], rtol=0, atol=1e-5)


def _cells(rows: int, fewer: int) -> int:
    """Of the pyramid: each has two rows more."""
    return (rows - fewer) // 2


def _without(ours, shape):
    """A last layer without the rows of the two channels, which are the last ones of each cell."""
    rows, n = shape[-2], _cells(ours.shape[-2], shape[-2])
    cut = ours.reshape(*ours.shape[:-2], n, -1, ours.shape[-1])[..., :-2, :]
    return cut.reshape(*shape[:-2], rows, shape[-1])


def _padded(small, shape):
    n = _cells(shape[-2], small.shape[-2])
    wide = small.reshape(*small.shape[:-2], n, -1, small.shape[-1])
    wide = jnp.concatenate([wide, jnp.zeros((*wide.shape[:-2], 2, wide.shape[-1]))], axis=-2)
    return wide.reshape(shape)


def test_features_hold_both_numbers():
    model = built(("gap",))
    variables = model.init(0)
    batch = {name: jnp.asarray(array) for name, array in written([(40, 80), (90, 50)]).items()}
    features = model.last_layers.features(variables, batch)
    aspect = np.log([2, 50 / 90])
    np.testing.assert_allclose(features[:2, -2:], np.stack([aspect, np.abs(aspect)], 1), rtol=1e-5)
