"""What follows from a configuration before a step is taken."""

import dataclasses

import numpy as np
import pytest

from mtp.config import ConfigError, get_config
from mtp.data.batches.sizes import FITS
from mtp.data.schema import DataError, Dataset
from mtp.evaluation import plan
from mtp.inference.models import build_model
from mtp.inference.predictor import Predictor
from mtp.ratings import histograms
from mtp.runtime.mesh import data_mesh
from mtp.training import experiment
from mtp.training.labels import labelled_share, learn_facts, training_labels
from tests import runs


@pytest.fixture
def dataset():
    votes = np.random.default_rng(0).integers(1, 20, (6, 5))
    return Dataset(
        name="six", images=tuple("abcdef"), votes=votes, sizes=np.full((6, 2), 64, np.int32),
        splits=("train",) * 4 + ("test",) * 2, groups=None, styles=np.full((6, 0), np.nan, np.float32),
        style_names=(), metadata={}, read=lambda _: b"",
    )  # fmt: skip


TRAINED = {"distribution": 5, "two_category": 2}


def labels(dataset, share):
    """By task: of every picture the label, and its weight."""
    config = get_config()
    config.loss.smoothing = share
    return training_labels(dataset, learn_facts(dataset, config), config, TRAINED)


def test_smoothing_moves_histograms_towards_the_training_mean_and_nothing_else(dataset):
    (plain, weights), (smooth, same) = labels(dataset, 0.0), labels(dataset, 0.25)
    truth = histograms(dataset.votes)
    np.testing.assert_array_equal(plain["distribution"], truth.astype(np.float32))
    mean = truth[:4].mean(axis=0)
    np.testing.assert_allclose(smooth["distribution"], 0.75 * truth + 0.25 * mean, rtol=1e-6)
    assert set(smooth) == set(plain) == set(weights) == set(same) == set(TRAINED)
    np.testing.assert_array_equal(smooth["two_category"], plain["two_category"])
    for task in TRAINED:
        np.testing.assert_array_equal(same[task], weights[task])


def test_what_does_not_train_weighs_nothing(dataset):
    styles = np.full((6, 2), np.nan, np.float32)
    styles[[0, 2, 4]] = [1, 0]
    styled = dataclasses.replace(dataset, styles=styles, style_names=("a", "b"))
    config = get_config()
    facts = learn_facts(styled, config)
    found, weights = training_labels(styled, facts, config, {**TRAINED, "style": 2})
    for task in TRAINED:
        assert weights[task][:4].mean() == pytest.approx(1) and not weights[task][4:].any()
    np.testing.assert_array_equal(weights["style"], [1, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(found["style"], np.nan_to_num(styles))
    assert {values.dtype.name for values in (*found.values(), *weights.values())} == {"float32"}
    assert (
        labelled_share(styled, "style", facts) == 0.5 and labelled_share(styled, "distribution", facts) == 1
    )


def test_means_alone_are_not_taken_for_histograms(dataset):
    config, means_only = get_config(), dataclasses.replace(dataset, means_only=True)
    with pytest.raises(ConfigError, match=r"set loss\.target=mean and loss\.reliability=none"):
        experiment.check_target(means_only, config)
    config.loss.target, config.loss.reliability = "mean", "none"
    experiment.check_target(means_only, config)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([[1, 0], [0, 1], [1, 0], [0, 1]], "softmax"),
        ([[1, 1], [0, 1], [1, 0], [0, 1]], "sigmoid"),
        ([[0, 0], [0, 1], [1, 0], [0, 1]], "sigmoid"),
        ([[1], [0], [1], [0]], "sigmoid"),
        ([[1], [1], [1], [1]], "sigmoid"),
    ],
    ids=["one each", "several", "none of them", "a single style", "which all have"],
)
def test_a_softmax_is_for_exactly_one_of_several_styles(rows, kind, dataset):
    styles = np.array([*rows, *rows[:2]], np.float32)
    styled = dataclasses.replace(dataset, styles=styles, style_names=("a", "b")[: styles.shape[1]])
    assert learn_facts(styled, get_config()).style_kind == kind


@pytest.mark.parametrize(("batch", "accumulate", "fine"), [(12, 3, True), (128, 3, False), (2, 4, False)])
def test_a_batch_divides_into_its_parts(batch, accumulate, fine):
    config = get_config()
    config.input.batch_size, config.optim.accumulate = batch, accumulate
    if fine:
        return experiment.check_batch(config, data_mesh(1))
    with pytest.raises(ConfigError, match=rf"must divide by optim\.accumulate = {accumulate}"):
        experiment.check_batch(config, data_mesh(1))


def test_splits_to_evaluate_are_looked_at_first(dataset):
    config = get_config()
    facts = learn_facts(dataset, config)
    predictor = Predictor.of(config, facts, build_model(config, facts), {}, mesh=data_mesh(1))
    assert plan.check(predictor, dataset) == ()
    config.eval.max_pixels = 1024
    with pytest.raises(DataError, match=r"^e: a picture of 64x64 is to be evaluated at 64x64, more than"):
        plan.check(predictor, dataset)
    config.eval.too_large = "shrink"
    assert plan.check(predictor, dataset) == (
        "2 pictures are shrunk to eval.max_pixels = 1024 (eval.size native)",
    )
    with pytest.raises(DataError, match="the split test of six is empty"):
        plan.check(predictor, dataclasses.replace(dataset, splits=("train",) * 6))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return runs.make_folder(tmp_path_factory.mktemp("data") / "photos", 40, 0)


@pytest.mark.parametrize("fit", ["warp", "crop", "pad"])
def test_squares_train_and_evaluate_by_configuration_alone(fit, photos):
    config = get_config()
    config.data.dir, config.model.backbone = str(photos), "tiny"
    config.input.sizes, config.input.fit, config.input.batch_size = ((96, 96),), fit, 8
    config.eval.size = f"{fit}=96"
    built = experiment.prepare(config)
    assert built.plan.shapes == [(95, 95)]  # NASNet never reads an even side's last line
    inputs = built.batches.load(0)["inputs"]
    assert inputs["images"].shape == (8, 95, 95, 3)
    np.testing.assert_array_equal(inputs["sizes"], np.full((8, 2), 95))
    black = (inputs["images"] == 0).all(axis=(2, 3)).mean()
    # padding a picture of 48 x 64 to its square leaves a quarter of the lines black
    assert (0.1 < black < 0.3) if fit == "pad" else black < 0.05
    for shapes in built.abstract_batches(0):
        assert shapes["inputs"]["images"].shape == (8, 95, 95, 3)
    predictor, test = built.predictor, built.dataset.indices("test")
    assert list(built.evaluation_canvases) == [(95, 95)]
    np.testing.assert_array_equal(predictor.sizes(built.dataset, test), np.full((len(test), 2), 96))
    assert predictor.view().fit is FITS[fit]
