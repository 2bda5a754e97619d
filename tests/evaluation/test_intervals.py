"""Bootstrap intervals: coverage, groups, undefined values."""

import numpy as np
import pytest

from mtp.evaluation import intervals, references
from mtp.ratings import histograms


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


def test_one_seed_is_the_paired_difference_of_one_run():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.2, 1, (2, 300))
    plain = intervals.paired_difference(a, b, None, 500, 0)
    seeded = intervals.seeded_difference(a[None], b[None], None, 500, 0)
    assert (seeded.value, seeded.low, seeded.high) == pytest.approx(plain)


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    noise, zeros = rng.normal(0, 1, (5, 400)), np.zeros((5, 400))
    same, apart = noise, noise + np.array([-1, -0.5, 0, 0.5, 1])[:, None]
    narrow, wide = (intervals.seeded_difference(values, zeros, None, 2000, 0) for values in (same, apart))
    # five seeds with a standard deviation of .71
    assert (wide.high - wide.low) == pytest.approx(2 * 1.96 * 0.71 / 5**0.5, rel=0.2)
    assert narrow.high - narrow.low < 0.3 * (wide.high - wide.low)


def test_p_values_are_uniform_where_nothing_differs_and_small_where_much_does():
    rng = np.random.default_rng(0)
    zeros = np.zeros((1, 100))
    p = [intervals.seeded_difference(rng.normal(size=(1, 100)), zeros, None, 400, i).p for i in range(200)]
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.11
    assert intervals.seeded_difference(zeros + 1, zeros, None, 400, 0).p == pytest.approx(2 / 401)


def test_holm():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.6, 0.9]) == [1, 1]


def test_metrics_over_seeds_of_one_run_are_its_metrics():
    votes = some_votes()
    rows, how = evaluation(votes)
    one, again = how.metrics(rows["vote noise"]), how.metrics_over_seeds([rows["vote noise"]])
    assert one.keys() == again.keys()
    for name in one:
        assert one[name] == pytest.approx(again[name]), name
    mean = how.metrics_over_seeds([rows["vote noise"], rows["mean histogram"]])["ped"]["value"]
    assert mean == pytest.approx(
        np.mean([how.metrics(rows[r])["ped"]["value"] for r in ("vote noise", "mean histogram")])
    )
