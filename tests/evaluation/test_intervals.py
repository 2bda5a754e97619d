"""Bootstrap intervals: coverage, groups, differences."""

import numpy as np
import pytest
import scipy.stats

from mtp.evaluation import intervals


def test_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(size=400)
    low, high = intervals.paired_difference(values, np.zeros(400), None, 4000, 0)[1:]
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.01)
    assert high == pytest.approx(values.mean() + half, abs=0.01)


@pytest.mark.parametrize(("right", "n"), [(0, 40), (3, 40), (97, 100), (1500, 3000), (3000, 3000)])
def test_a_share_of_independent_pictures_has_wilsons_interval(right, n):
    values = np.arange(n) < right
    resampled = np.concatenate([w @ values / n for w in intervals.resamples_of(n, None, 20_000, 0)])
    wilson = scipy.stats.binomtest(right, n).proportion_ci(method="wilson")
    low, high = intervals.interval_of_share(right / n, resampled, n, n)
    # Student's quantile is above the normal one's: 2.02 instead of 1.96 for 40
    assert (low, high) == pytest.approx((wilson.low, wilson.high), abs=0.01 if n < 1000 else 0.001)
    assert low <= wilson.low + 1e-3 and wilson.high - 1e-3 <= high


def test_a_share_near_one_is_held_as_often_as_promised():
    """Percentiles of resamples hold it in 80 of 100 draws."""
    rng, held = np.random.default_rng(0), []
    for seed in range(400):
        values = rng.random(100) < 0.97
        (weights,) = intervals.resamples_of(100, None, 200, seed)
        low, high = intervals.interval_of_share(values.mean(), weights @ values / 100, 100, 100)
        held.append(low <= 0.97 <= high)
    assert 0.92 <= np.mean(held) <= 0.99


def test_a_share_of_groups_of_equal_pictures_is_that_of_as_many_pictures():
    values = np.arange(50) % 5 > 0
    groups = [str(i // 4) for i in range(200)]
    each, tied = (
        np.concatenate([w @ v / w.sum(axis=1) for w in intervals.resamples_of(len(v), g, 20_000, 0)])
        for v, g in ((values, None), (np.repeat(values, 4), groups))
    )
    assert intervals.interval_of_share(0.8, tied, 200, 50) == pytest.approx(
        intervals.interval_of_share(0.8, each, 50, 50), abs=0.005
    )


def test_a_group_is_drawn_as_a_whole():
    groups = ["a", "b", "a", "c", "b", "a"]
    weights = np.concatenate(list(intervals.resamples_of(6, groups, 50, 0)))
    for name in "abc":
        members = [i for i, g in enumerate(groups) if g == name]
        assert (weights[:, members] == weights[:, members[:1]]).all()
    # as many groups a resample as there are
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 1] + weights[:, 3], 3)


def test_draws_are_multinomial():
    """Each picture once in the mean, with the variance 1 - 1/N and the covariance -1/N."""
    weights = np.concatenate(list(intervals.resamples_of(5, None, 20_000, 0)))
    np.testing.assert_array_equal(weights.sum(axis=1), 5)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(np.cov(weights.T), np.eye(5) - 1 / 5, atol=0.03)


def test_groups_of_equal_pictures_widen_the_interval():
    values = np.repeat(np.random.default_rng(1).normal(size=50), 4)
    groups = [str(i // 4) for i in range(200)]
    free, tied = (intervals.paired_difference(values, np.zeros(200), g, 2000, 0) for g in (None, groups))
    assert (tied[2] - tied[1]) == pytest.approx(2 * (free[2] - free[1]), rel=0.15)


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
    # five seeds with a standard deviation of .79; Student's t of four degrees
    assert (wide.high - wide.low) == pytest.approx(2 * 2.776 * 0.79 / 5**0.5, rel=0.05)
    assert narrow.high - narrow.low < 0.3 * (wide.high - wide.low)


@pytest.mark.parametrize(("seeds", "between"), [(3, 0.03), (5, 0.005), (4, 0.0)])
def test_an_interval_over_few_seeds_holds_the_value_as_often_as_it_says(seeds, between):
    """Of runs that differ little or much; resampled runs would hold it in three of four cases."""
    rng, held, p = np.random.default_rng(seeds), [], []
    for number in range(300):
        values = (
            rng.normal(0, 0.1, 200) + rng.normal(0, between, (seeds, 1)) + rng.normal(0, 0.02, (seeds, 200))
        )
        found = intervals.seeded_difference(values, np.zeros((seeds, 200)), None, 200, number)
        held.append(found.low <= 0 <= found.high)
        p.append(found.p)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(np.array(p) < 0.05) == pytest.approx(1 - np.mean(held), abs=0.01)


def test_p_values_are_uniform_where_nothing_differs_and_small_where_much_does():
    rng = np.random.default_rng(0)
    zeros = np.zeros((1, 100))
    p = [intervals.seeded_difference(rng.normal(size=(1, 100)), zeros, None, 400, i).p for i in range(200)]
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.11
    assert intervals.seeded_difference(zeros + 1, zeros, None, 400, 0).p == pytest.approx(2 / 401)


def test_holm():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.6, 0.9]) == [1, 1]


def test_chunks_are_parts_of_one_stream(monkeypatch):
    """Neither what is drawn nor a difference depends on how many resamples are drawn at a time."""
    groups = [str(i // 3) for i in range(20)]
    values = np.random.default_rng(0).normal(size=20)
    drawn, differences = [], []
    for chunk in (10**6, 60, 1):
        monkeypatch.setattr(intervals, "CHUNK", chunk)
        chunks = list(intervals.resamples_of(20, groups, 50, 0))
        assert all(len(c) <= max(1, chunk // 20) for c in chunks)
        drawn.append(np.concatenate(chunks))
        differences.append(intervals.paired_difference(values, np.zeros(20), groups, 50, 0))
    for other, difference in zip(drawn[1:], differences[1:], strict=True):
        np.testing.assert_array_equal(other, drawn[0])
        assert difference == pytest.approx(differences[0], rel=1e-12)
