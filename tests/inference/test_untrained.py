"""A predictor without training: the seed's variables, and published weights in the trunk's place."""

import dataclasses

import jax
import numpy as np
import pytest

from mtp.config import get_config
from mtp.data.pictures import of_arrays
from mtp.inference.predictor import Predictor
from mtp.models.backbones import BACKBONES
from mtp.models.model import no_published_weights
from tests.runs import SMALL


def filled(variables, weights):
    """Published weights that are 1/2 throughout."""
    return jax.tree.map(lambda x: np.full(x.shape, 0.5, x.dtype), variables)


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setitem(BACKBONES, "small", dataclasses.replace(SMALL, load=filled))
    c = get_config()
    c.model.backbone, c.eval.canvases, c.eval.size = "small", 1, "native"
    return c


def test_weights_take_the_trunks_place_and_leave_the_heads_to_the_seed(config):
    plain = Predictor.untrained(config, 7).variables
    config.model.weights = "some.h5"
    loaded = Predictor.untrained(config, 7).variables
    for kind, trees in loaded.items():
        assert jax.tree.structure(trees) == jax.tree.structure(plain[kind])
        for leaf in jax.tree.leaves(trees["backbone"]):
            np.testing.assert_array_equal(leaf, 0.5)
    jax.tree.map(np.testing.assert_array_equal, loaded["params"]["heads"], plain["params"]["heads"])
    assert np.std(plain["params"]["backbone"]["stem"]["kernel"]) > 0


def test_it_predicts_and_knows_its_scale_and_that_it_saw_nothing(config):
    predictor = Predictor.untrained(config, 7)
    pictures = of_arrays([np.full((40, 48, 3), value, np.uint8) for value in (10, 200)])
    predictions = predictor.predict(pictures)
    assert predictions.distribution is not None and predictions.distribution.shape == (2, 7)
    np.testing.assert_allclose(predictions.distribution.sum(axis=1), 1)
    assert predictor.facts.threshold == 4 and predictor.trained_on(pictures, np.arange(2)) == 0
    config.seed = 1
    other = Predictor.untrained(config, 7).predict(pictures)
    assert other.distribution is not None and not np.allclose(other.distribution, predictions.distribution)


def test_a_network_without_published_weights_says_so(config, monkeypatch):
    monkeypatch.setitem(BACKBONES, "small", dataclasses.replace(SMALL, load=no_published_weights))
    config.model.weights = "imagenet"
    with pytest.raises(ValueError, match=r"model\.weights must be ''"):
        Predictor.untrained(config, 7)
