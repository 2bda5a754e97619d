"""NIMA: the random window of training, dropout by the view, and logits that are linear in features."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtp.baselines.layers import pooled
from mtp.data.batches.sizes import crop, warp
from tests.baselines.networks import SIDE, build, drawn, once, picture, random_variables, view_of, written

SHOWN = [picture(60, 90), picture(40, 50, 1)]


@pytest.fixture
def model():
    return build("nima", dropout=0.75)


def test_evaluation_sees_the_warped_picture_without_dropout(model):
    found = written(view_of(model, training=False, rule="warp"), SHOWN, (SIDE, SIDE), [None, None], slots=3)
    for number, shown in enumerate(SHOWN):
        np.testing.assert_array_equal(found["images"][number], warp(shown, SIDE, SIDE))
    assert found["sizes"].tolist() == [[SIDE, SIDE]] * 2 + [[0, 0]]
    assert (found["dropout"][:2] == 1).all() and found["dropout"].shape == (3, 12)


def test_training_sees_windows_of_the_larger_square(model):
    """A picture that is 8/7 of the square already is not resized: its windows are parts of it."""
    view, larger = view_of(model, training=True, rule="warp"), 38
    number = np.arange(larger * larger).reshape(larger, larger)
    shown = np.stack([number % 256, number // 256, number % 7], axis=2).astype(np.uint8)
    places = set()
    for slot in range(40):
        found = written(view, [shown], (SIDE, SIDE), [drawn(slot)])["images"][0]
        ((top, left),) = np.argwhere((shown == found[0, 0]).all(axis=2))
        np.testing.assert_array_equal(found, shown[top : top + SIDE, left : left + SIDE])
        places.add((int(top), int(left)))
    assert (
        len(places) > 15 and {0, 5} <= {top for top, _ in places} and {0, 5} <= {left for _, left in places}
    )


def test_a_crop_is_a_window_of_the_whole_picture(model):
    view = view_of(model, training=True, rule="crop")
    found = written(view, [SHOWN[0]], (SIDE, SIDE), [drawn(3)])["images"][0]
    where = drawn(3).generator("window").random(2)
    larger = crop(SHOWN[0], 38, 38, tuple(where))
    np.testing.assert_array_equal(found, crop(larger, SIDE, SIDE, tuple(where)))


def test_dropout_keeps_the_expectation():
    model = build("nima", dropout=0.75, backbone=("small",) * 100)
    view = view_of(model, training=True, rule="warp")
    factors = np.stack(
        [written(view, [SHOWN[0]], (SIDE, SIDE), [drawn(slot)])["dropout"][0] for slot in range(50)]
    )
    assert factors.shape == (50, 1200) and set(np.unique(factors)) == {0, 4}
    # 60,000 factors of variance 3: a deviation of .007
    assert abs(factors.mean() - 1) < 0.03
    assert abs(np.corrcoef(factors[:2])[0, 1]) < 0.2


def test_no_dropout_is_ones():
    view = view_of(build("nima", dropout=0.0), training=True, rule="warp")
    assert (written(view, [SHOWN[0]], (SIDE, SIDE), [drawn()])["dropout"] == 1).all()


def test_dropped_features_reach_no_logit(model):
    variables = random_variables(model)
    inputs = written(view_of(model, training=True, rule="warp"), SHOWN, (SIDE, SIDE), [drawn(0), drawn(1)])
    found = once(model.details)(variables, inputs)
    logits, _ = once(model.logits)(variables, inputs)
    features = pooled(found["map"], found["map_sizes"]) * inputs["dropout"]
    for task, layer in variables["params"]["heads"].items():
        np.testing.assert_allclose(logits[task], features @ layer["kernel"] + layer["bias"], rtol=1e-4)
    assert not jnp.allclose(inputs["dropout"], 1)
