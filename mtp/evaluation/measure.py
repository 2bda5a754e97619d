"""All metrics of a table with their values and 95 % bootstrap intervals."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtp.evaluation.intervals import interval, resampled_seeds, resamples_of
from mtp.evaluation.metrics import METRICS, Metric
from mtp.evaluation.samples import Criteria, Sample
from mtp.evaluation.statistics import weighted_mean
from mtp.ratings import histograms

Cells = dict[str, dict[str, Any]]  # name -> value, low, high, n, better
Table = Mapping[str, Metric]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One split's truth, and how it is measured.

    votes: (N, K); mean_histogram, vote_noise: the reference rows (N, K) that skill is measured between. groups: N
    names, pictures of one are drawn together. means_only: the votes tell nothing but each picture's mean rating.
    """

    votes: np.ndarray
    mean_histogram: np.ndarray
    vote_noise: np.ndarray
    criteria: Criteria
    groups: Sequence[str] | None
    resamples: int
    seed: int
    means_only: bool = False

    def sample(self, distribution: np.ndarray | None = None, **outputs: Any) -> Sample:
        """Predictions (N, K) beside this truth; outputs: further fields of `Sample`."""
        prediction = np.zeros((0, 0)) if distribution is None else distribution
        return Sample(
            self.criteria, histograms(self.votes), prediction, self.mean_histogram, self.vote_noise,
            means_only=self.means_only, **outputs,
        )  # fmt: skip

    def metrics(self, distribution: np.ndarray | None = None, **outputs: Any) -> Cells:
        """One row's metrics; outputs: p_high, and styles, predicted_styles, style_names, where there are any."""
        return measure([self.sample(distribution, **outputs)], self.groups, self.resamples, self.seed)

    def metrics_over_seeds(self, distributions: Sequence[np.ndarray]) -> Cells:
        """As `metrics`, of several runs: the mean of their values; the interval resamples runs and pictures."""
        return measure([self.sample(d) for d in distributions], self.groups, self.resamples, self.seed)


class Column(NamedTuple):
    """A metric or one style's value of it. n: pictures that count; value: NaN where undefined."""

    name: str
    better: str
    n: int
    value: float


class Part(NamedTuple):
    """Metrics that are measured together. resampled: weights (R, N) -> values (R, M) of the M columns."""

    columns: list[Column]
    resampled: Callable[[np.ndarray], np.ndarray]


def measure(
    runs: Sequence[Sample], groups: Sequence[str] | None, resamples: int, seed: int, table: Table = METRICS
) -> Cells:
    """name -> value, low, high, n, better, in the table's order; None where undefined.

    runs: of the same pictures in one order; of several, the value is the mean, and the interval resamples runs too.
    A metric whose label is not known has no cell; where only means are known, one that needs histograms has an empty
    one.
    """
    parts = [_parts(run, table) for run in runs]
    columns = [[column for part in of_run for column in part.columns] for of_run in parts]
    values = np.array([[column.value for column in of_run] for of_run in columns])

    def of_runs(weights: np.ndarray) -> np.ndarray:
        return np.stack([np.hstack([part.resampled(weights) for part in of_run]) for of_run in parts], axis=1)

    chunks = resamples_of(len(runs[0]), groups, resamples, seed)
    # without a resample there is no chunk
    drawn = np.concatenate([np.zeros((0, *values.shape)), *map(of_runs, chunks)])
    drawn = np.sum(resampled_seeds(len(runs), resamples, seed)[:, :, None] * drawn, axis=1)
    cells = {c.name: _cell(c, v, d) for c, v, d in zip(columns[0], values.mean(axis=0), drawn.T, strict=True)}
    return _in_order(cells | _undefined(runs[0], table), table, runs[0].style_names)


def _parts(sample: Sample, table: Table) -> list[Part]:
    """All metrics with one value a picture in one part, every other metric in a part of its own."""
    known = [metric for metric in table.values() if sample.knows(metric.label)]
    means = [metric for metric in known if metric.per == "picture"]
    others = [_statistic(metric, sample) for metric in known if metric.per != "picture"]
    return [_means(means, sample), *others] if means else others


def _counted(metric: Metric, sample: Sample) -> np.ndarray:
    return np.ones(len(sample), bool) if metric.among is None else metric.among(sample)


def _means(metrics: Sequence[Metric], sample: Sample) -> Part:
    """Means over pictures: a matrix product for all resamples of a chunk."""
    counted = np.array([_counted(metric, sample) for metric in metrics], np.float64)
    values = np.zeros_like(counted)
    for row, among, metric in zip(values, counted > 0, metrics, strict=True):
        row[among] = metric.function(sample.part(among))

    def resampled(weights: np.ndarray) -> np.ndarray:
        totals = weights @ counted.T
        return np.divide(weights @ values.T, totals, out=np.full_like(totals, np.nan), where=totals > 0)

    return Part(
        [
            Column(metric.name, metric.better, int(among.sum()), weighted_mean(row, among))
            for metric, row, among in zip(metrics, values, counted, strict=True)
        ],
        resampled,
    )


def _statistic(metric: Metric, sample: Sample) -> Part:
    """A metric over pictures, or its mean over styles and each style's value: prepared once, then asked in turn."""
    counted = _counted(metric, sample)
    rows, everywhere = np.flatnonzero(counted), bool(counted.all())
    statistic = metric.function(sample.part(counted))
    ask = _with_mean(statistic) if metric.per == "style" else lambda weights: np.array([statistic(weights)])
    values = ask(np.ones(len(rows)))

    def resampled(weights: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).any():
            return np.full((len(weights), len(values)), np.nan)
        kept = weights if everywhere else np.take(weights, rows, axis=1)
        return np.array([ask(row) for row in kept])

    names = _names(metric, sample.style_names)
    columns = [Column(n, metric.better, len(rows), float(v)) for n, v in zip(names, values, strict=True)]
    return Part(columns, resampled)


def _with_mean(styles: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The mean over the styles that have a value, then each style's."""

    def ask(weights: np.ndarray) -> np.ndarray:
        each = styles(weights)
        return np.array([np.nanmean(each) if np.isfinite(each).any() else np.nan, *each])

    return ask


def _names(metric: Metric, style_names: Sequence[str]) -> list[str]:
    """Of the metric's cells."""
    return [metric.name, *(f"ap_{name}" for name in style_names if metric.per == "style")]


def _undefined(sample: Sample, table: Table) -> Cells:
    """Empty cells of what needs histograms, where only means are known."""
    missing = [m for m in table.values() if m.label == "histogram" and sample.means_only]
    return {
        m.name: _cell(Column(m.name, m.better, len(sample), np.nan), np.nan, np.zeros(0)) for m in missing
    }


def _in_order(cells: Cells, table: Table, style_names: Sequence[str]) -> Cells:
    names = [name for metric in table.values() for name in _names(metric, style_names)]
    return {name: cells[name] for name in names if name in cells}


def _cell(column: Column, value: float, resampled: np.ndarray) -> dict[str, Any]:
    defined = bool(np.isfinite(value))
    low, high = interval(resampled) if defined else (None, None)
    return {
        "value": float(value) if defined else None,
        "low": low,
        "high": high,
        "n": column.n,
        "better": column.better,
    }
