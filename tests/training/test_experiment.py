"""What follows from a configuration before a step is taken."""

import dataclasses

import numpy as np
import pytest

from mtp.config import ConfigError, get_config
from mtp.data.schema import DataError, Dataset
from mtp.evaluation import rows as evaluate
from mtp.ratings import histograms
from mtp.training import experiment


@pytest.fixture
def dataset():
    votes = np.random.default_rng(0).integers(1, 20, (6, 5))
    return Dataset(
        "six", tuple("abcdef"), votes, np.full((6, 2), 64, np.int32), ("train",) * 4 + ("test",) * 2, None,
        np.full((6, 0), np.nan, np.float32), (), {}, lambda _: b"",
    )  # fmt: skip


def labels(dataset, share):
    config = get_config()
    config.loss.smoothing = share
    return experiment.training_labels(dataset, experiment.learn_facts(dataset, config), config)


def test_smoothing_moves_histograms_towards_the_training_mean_and_nothing_else(dataset):
    plain, smooth = labels(dataset, 0.0), labels(dataset, 0.25)
    truth = histograms(dataset.votes)
    np.testing.assert_array_equal(plain["distribution"], truth.astype(np.float32))
    mean = truth[:4].mean(axis=0)
    np.testing.assert_allclose(smooth["distribution"], 0.75 * truth + 0.25 * mean, rtol=1e-6)
    assert set(smooth) == set(plain)
    for name in set(plain) - {"distribution"}:
        np.testing.assert_array_equal(smooth[name], plain[name])


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_smoothing_is_a_share(dataset, share):
    with pytest.raises(ConfigError, match=r"loss\.smoothing must be a share"):
        labels(dataset, share)


def test_means_alone_are_not_taken_for_histograms(dataset):
    config, means_only = get_config(), dataclasses.replace(dataset, means_only=True)
    with pytest.raises(ConfigError, match=r"set loss\.target=mean and loss\.reliability=none"):
        experiment._check_target(means_only, config)
    config.loss.target, config.loss.reliability = "mean", "none"
    experiment._check_target(means_only, config)


def test_an_unknown_target(dataset):
    config = get_config()
    config.loss.target = "median"
    with pytest.raises(ConfigError, match=r"loss\.target must be"):
        experiment._check_target(dataset, config)


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
    assert experiment.learn_facts(styled, get_config()).style_kind == kind


@pytest.mark.parametrize(("batch", "accumulate", "fine"), [(12, 3, True), (128, 3, False), (0, 1, False)])
def test_a_batch_divides_into_its_parts(batch, accumulate, fine):
    config = get_config()
    config.input.batch_size, config.optim.accumulate, config.run.devices = batch, accumulate, 1
    if fine:
        return experiment._check_batch(config)
    with pytest.raises(ConfigError, match=rf"must divide by optim\.accumulate = {accumulate}"):
        experiment._check_batch(config)


def test_splits_to_evaluate_are_looked_at_first(dataset):
    config = get_config()
    assert evaluate.check(dataset, config) == ()
    config.eval.max_pixels = 1024
    with pytest.raises(DataError, match=r"^e: a picture of 64x64 is to be evaluated at 64x64, more than"):
        evaluate.check(dataset, config)
    config.eval.too_large = "shrink"
    assert evaluate.check(dataset, config) == (
        "2 pictures are shrunk to eval.max_pixels = 1024 (eval.size native)",
    )
    with pytest.raises(DataError, match="the split test of six is empty"):
        evaluate.check(dataclasses.replace(dataset, splits=("train",) * 6), config)
