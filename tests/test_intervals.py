"""Bootstrap intervals: coverage, groups, undefined values."""

import numpy as np
import pytest

from mtp import intervals, references
from mtp.ops.ratings import histograms


def evaluation(votes, groups=None, resamples=200):
    rows = references.rows(votes, histograms(votes).mean(0), seed=0)
    return rows, intervals.Evaluation(
        votes=votes, mean_histogram=rows["mean histogram"], vote_noise=rows["vote noise"], threshold=3.0,
        delta=0.5, pkl_floor=1e-7, groups=groups, resamples=resamples, seed=0,
    )  # fmt: skip


def some_votes(n=60, k=5, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([rng.multinomial(80, p) for p in rng.dirichlet(np.ones(k), n)])


def test_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(size=400)
    low, high = intervals.paired_difference(values, np.zeros(400), None, 4000, 0)[1:]
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.01)
    assert high == pytest.approx(values.mean() + half, abs=0.01)


def test_a_group_is_drawn_as_a_whole():
    groups = ["a", "b", "a", "c", "b", "a"]
    weights = intervals.resampled_weights(6, groups, 50, 0)
    for name in "abc":
        members = [i for i, g in enumerate(groups) if g == name]
        assert (weights[:, members] == weights[:, members[:1]]).all()
    # as many groups a resample as there are
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 1] + weights[:, 3], 3)


def test_groups_of_equal_pictures_widen_the_interval():
    values = np.repeat(np.random.default_rng(1).normal(size=50), 4)
    groups = [str(i // 4) for i in range(200)]
    free, tied = (intervals.paired_difference(values, np.zeros(200), g, 2000, 0) for g in (None, groups))
    assert (tied[2] - tied[1]) == pytest.approx(2 * (free[2] - free[1]), rel=0.15)


def test_reference_rows_mean_what_they_say():
    votes = some_votes()
    rows, how = evaluation(votes)
    measured = {name: how.metrics(row) for name, row in rows.items()}
    assert measured["mean histogram"]["skill"]["value"] == pytest.approx(0)
    assert measured["vote noise"]["skill"]["value"] == pytest.approx(1)
    assert measured["uniform"]["srcc"]["value"] is None and measured["uniform"]["srcc"]["low"] is None
    assert measured["vote noise"]["emd_r2"]["value"] < 0.3 * measured["mean histogram"]["emd_r2"]["value"]


def test_every_value_lies_in_its_interval():
    votes = some_votes()
    rows, how = evaluation(votes)
    for name, cell in how.metrics(rows["vote noise"]).items():
        if cell["value"] is not None and name not in ("skill",):
            assert cell["low"] <= cell["value"] + 1e-9, name
            assert cell["value"] <= cell["high"] + 1e-9, name
            assert cell["n"] <= len(votes)


def test_delta_keeps_the_clear_pictures_only():
    votes = some_votes()
    _, how = evaluation(votes)
    mean = histograms(votes) @ np.arange(1, 6)
    measured = how.metrics(histograms(votes))
    assert measured["accuracy_delta"]["n"] == int((np.abs(mean - 3) > 0.5).sum()) < len(votes)
    assert measured["accuracy"]["value"] == 1


def test_styles_count_labelled_pictures_only():
    votes = some_votes()
    styles = np.full((60, 2), np.nan, np.float32)
    styles[:20] = np.eye(2)[np.arange(20) % 2]
    predicted = np.nan_to_num(styles) * 0.8 + 0.1
    _, how = evaluation(votes)
    measured = how.metrics(
        histograms(votes), styles=styles, predicted_styles=predicted, style_names=("a", "b")
    )
    assert measured["ap_a"]["n"] == 20 and measured["map"]["value"] == 1
