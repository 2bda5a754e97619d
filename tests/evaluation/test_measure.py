"""Metrics with intervals: equal to a bootstrap that copies and sorts pictures, whatever the data."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from mtp.evaluation import intervals, references
from mtp.evaluation.measure import Evaluation, measure
from mtp.evaluation.metrics import METRICS, Metric
from mtp.evaluation.samples import Criteria, Sample
from mtp.ratings import histograms


def evaluation(votes, groups=None, resamples=200):
    rows = references.rows(votes, histograms(votes).mean(0), seed=0)
    return rows, Evaluation(
        votes=votes, mean_histogram=rows["mean histogram"], vote_noise=rows["vote noise"],
        criteria=Criteria(threshold=3.0, delta=0.5, pkl_floor=1e-7), groups=groups, resamples=resamples, seed=0,
    )  # fmt: skip


def some_votes(n=60, k=5, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([rng.multinomial(80, p) for p in rng.dirichlet(np.ones(k), n)])


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


def sample_of(n=40, k=5, seed=0, **changes):
    """Predictions of all tasks with ties; half of the pictures have styles, one style no positive picture."""
    rng = np.random.default_rng(seed)
    truth = histograms(rng.multinomial(6, np.full(k, 1 / k), n))
    styles = np.full((n, 3), np.nan, np.float32)
    styles[::2] = rng.integers(0, 2, (len(styles[::2]), 3)) * [1, 1, 0]
    drawn = {
        "truth": truth, "prediction": histograms(rng.multinomial(4, np.full(k, 1 / k), n)),
        "mean_histogram": np.tile(truth.mean(axis=0), (n, 1)), "vote_noise": truth[:, ::-1] * 0.2 + truth * 0.8,
        "p_high": rng.random(n), "styles": styles, "predicted_styles": rng.random((n, 3)).round(1),
    }  # fmt: skip
    return Sample(Criteria((k + 1) / 2, 0.3, 1e-7), **{**drawn, **changes}, style_names=("a", "b", "c"))


def copied(sample, index):
    """The pictures of an index, some of them several times, some not at all."""
    arrays = {f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)}
    return dataclasses.replace(
        sample, **{n: a[index] for n, a in arrays.items() if isinstance(a, np.ndarray) and a.size}
    )


def values_of(metric, sample):
    """A metric and its styles' values of a sample, every picture once."""
    sample = sample if metric.among is None else copied(sample, np.flatnonzero(metric.among(sample)))
    count = len(sample.truth)
    if metric.per == "picture":
        return [metric.function(sample).mean() if count else np.nan]
    found = metric.function(sample)(np.ones(count))
    if metric.per == "style":
        return [np.nanmean(found) if np.isfinite(found).any() else np.nan, *found]
    return [found]


def naive(sample, groups, resamples, seed):
    """name -> value, low, high, n: pictures are copied as often as they are drawn, and everything is sorted anew."""
    everyone = np.arange(len(sample.truth))
    place = everyone if groups is None else np.unique(groups, return_inverse=True)[1]
    count = place.max() + 1
    rng = np.random.default_rng([seed, 2])
    draws = [np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(resamples)]
    again = [copied(sample, np.repeat(everyone, draw[place])) for draw in draws]
    cells = {}
    for metric in METRICS.values():
        n = len(everyone) if metric.among is None else metric.among(sample).sum()
        names = [metric.name, *(f"ap_{s}" for s in sample.style_names if metric.per == "style")]
        resampled = np.array([values_of(metric, s) for s in again]).T
        for name, value, column in zip(names, values_of(metric, sample), resampled, strict=True):
            column = column[np.isfinite(column)]
            defined = len(column) and np.isfinite(value)
            limits = np.percentile(column, [2.5, 97.5]) if defined else (np.nan, np.nan)
            if "accuracy" in name and n:
                limits = of_share(value, column.var(), n, min(count, n))
            cells[name] = (value, *limits, n)
        if metric.per == "style":
            cells |= {
                name: (cells[name][0], *limits, n)
                for name, limits in zip(names, left_out(metric, sample, groups, seed), strict=True)
            }
    return cells


def of_share(value, variance, pictures, count):
    """Wilson's limits by a search: the shares from which the value lies q of their own standard errors away."""
    n = min(value * (1 - value) / variance, pictures) if variance else count
    q = scipy.stats.t.ppf(0.975, max(count - 1, 1))

    def beyond(p):
        return abs(p - value) - q * (p * (1 - p) / n) ** 0.5

    low = scipy.optimize.brentq(beyond, 1e-15, value - 1e-12) if value else 0
    return low, scipy.optimize.brentq(beyond, value + 1e-12, 1 - 1e-15) if value < 1 else 1


def left_out(metric, sample, groups, seed):
    """Jackknife intervals (M, 2): what is left out is removed, and everything is sorted anew."""
    kept = np.flatnonzero(metric.among(sample))
    sample, groups = copied(sample, kept), None if groups is None else [groups[i] for i in kept]
    place = np.arange(len(kept)) if groups is None else np.unique(groups, return_inverse=True)[1]
    blocks = min(200, place.max() + 1)
    whole = np.array(values_of(metric, sample))
    if blocks < 2:
        return np.full((len(whole), 2), np.nan)
    block = (np.random.default_rng([seed, 5]).permutation(place.max() + 1) % blocks)[place]
    each = np.array([values_of(metric, copied(sample, np.flatnonzero(block != b))) for b in range(blocks)])
    error = np.sqrt((blocks - 1) / blocks * ((each - each.mean(0)) ** 2).sum(0))
    centre = np.clip(blocks * whole - (blocks - 1) * each.mean(0), 1e-3, 1 - 1e-3)
    half = scipy.stats.t.ppf(0.975, blocks - 1) * np.where(error > 0, error, np.nan) / (centre * (1 - centre))
    half[1:][sample.styles.sum(axis=0) < 5] = np.nan
    odds = np.log(centre / (1 - centre))
    return np.stack([1 / (1 + np.exp(half - odds)), 1 / (1 + np.exp(-half - odds))], axis=1)


CASES = {
    "ties": (sample_of(), None),
    "groups": (sample_of(seed=1), [str(i % 7) for i in range(40)]),
    "groups of other sizes": (sample_of(seed=2), [str(int(i**0.5)) for i in range(40)]),
    "constant prediction": (sample_of(prediction=np.full((40, 5), 0.2)), None),
    "constant truth": (sample_of(truth=np.tile([0.1, 0.2, 0.4, 0.2, 0.1], (40, 1))), None),
    "perfect": (sample_of(prediction=sample_of().truth), None),
    "few pictures, constant in some resamples": (sample_of(3, seed=3), None),
    "one picture": (sample_of(1), None),
    "one group": (sample_of(5), ["a"] * 5),
    "none is clear": (dataclasses.replace(sample_of(), criteria=Criteria(3.0, 9.0, 1e-3)), None),
}


@pytest.mark.parametrize("case", CASES)
def test_intervals_are_those_of_copied_and_sorted_pictures(case, monkeypatch):
    sample, groups = CASES[case]
    monkeypatch.setattr(intervals, "CHUNK", 7 * len(sample))
    found = measure([sample], groups, 60, 3)
    expected = naive(sample, groups, 60, 3)
    assert list(found) == list(expected)
    for name, cell in found.items():
        numbers = [np.nan if cell[part] is None else cell[part] for part in ("value", "low", "high", "n")]
        np.testing.assert_allclose(numbers, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_intervals_over_runs_hold_their_difference_and_that_of_pictures():
    """The mean of the runs' values; Student's t on the sum of both variances."""
    runs = [sample_of(prediction=histograms(v)) for v in np.random.default_rng(0).integers(1, 9, (3, 40, 5))]
    found = measure(runs, None, 50, 0)
    (draws,) = intervals.resamples_of(40, None, 50, 0)
    for name in ("srcc", "ped"):
        metric = METRICS[name]
        again = [np.mean([values_of(metric, copied(r, np.repeat(np.arange(40), w.astype(int))))[0] for r in runs])
                 for w in draws]  # fmt: skip
        values = np.array([values_of(metric, run)[0] for run in runs])
        of_runs, of_pictures = values.var(ddof=1) / 3, np.var(again)
        freedom = (of_runs + of_pictures) ** 2 / (of_runs**2 / 2 + of_pictures**2 / 39)
        half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(of_runs + of_pictures)
        assert (found[name]["value"], found[name]["low"], found[name]["high"]) == pytest.approx(
            (values.mean(), values.mean() - half, values.mean() + half)
        )


def test_what_needs_histograms_has_no_value_where_means_are_known():
    sample = sample_of(means_only=True)
    found = measure([sample], None, 20, 0)
    assert list(found) == list(measure([sample_of()], None, 20, 0))
    for name, metric in METRICS.items():
        assert (found[name]["value"] is None) == (metric.label == "histogram"), name
        assert metric.label != "histogram" or found[name]["n"] == 40


def test_what_was_not_predicted_has_no_cell():
    sample = sample_of()
    alone = Sample(sample.criteria, sample.truth, sample.prediction, sample.mean_histogram, sample.vote_noise)
    labels = {METRICS[name].label for name in measure([alone], None, 5, 0)}
    assert labels == {"histogram", "rating", "mean", "truth"}
    only = Sample(sample.criteria, styles=sample.styles, predicted_styles=sample.predicted_styles,
                  style_names=sample.style_names)  # fmt: skip
    assert list(measure([only], None, 5, 0)) == ["map", "ap_a", "ap_b", "ap_c"]


def test_one_record_is_enough_for_a_new_metric():
    def error(sample: Sample) -> np.ndarray:
        return np.abs(sample.truth_mean - sample.mean)

    toy = Metric("mae", "picture", "mean", "low", error, "mean of |mean_y - mean_p|", "a toy")
    sample = sample_of()
    found = measure([sample], None, 20, 0, {"mae": toy, **METRICS})
    assert list(found) == ["mae", *measure([sample], None, 20, 0)]
    assert found["mae"]["value"] == pytest.approx(error(sample).mean()) and found["mae"]["better"] == "low"
    assert found["mae"]["low"] < found["mae"]["value"] < found["mae"]["high"]


def test_no_resamples_no_intervals():
    for name, cell in measure([sample_of()], None, 0, 0).items():
        assert cell["low"] is cell["high"] is None and (cell["value"] is not None or name == "ap_c")
