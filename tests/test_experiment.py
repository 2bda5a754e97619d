"""What follows from a configuration before a step is taken."""

import dataclasses

import numpy as np
import pytest

from mtp import experiment
from mtp.config import ConfigError, get_config
from mtp.data.schema import Dataset
from mtp.ops.ratings import histograms


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
