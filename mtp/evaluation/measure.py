"""All metrics of a table with their values and 95 % intervals."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtp.evaluation.intervals import (
    FEW_POSITIVES,
    interval,
    interval_of_share,
    jackknife_of_shares,
    resamples_of,
    units,
)
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
        """As `metrics`, of several runs: the mean of their values; the interval counts runs and pictures."""
        return measure([self.sample(d) for d in distributions], self.groups, self.resamples, self.seed)


class Column(NamedTuple):
    """A metric, or one style's value of it. n: pictures that count; value: NaN where undefined; share: of these."""

    name: str
    better: str
    n: int
    value: float
    share: bool = False


class Part(NamedTuple):
    """Metrics that are measured together. resampled: weights (R, N) -> values (R, M) of the M columns."""

    columns: list[Column]
    resampled: Callable[[np.ndarray], np.ndarray]


def measure(
    runs: Sequence[Sample], groups: Sequence[str] | None, resamples: int, seed: int, table: Table = METRICS
) -> Cells:
    """name -> value, low, high, n, better, in the table's order; None where undefined.

    runs: of the same pictures in one order; of several, the value is the mean, and the interval counts how they differ
    (not that of average precision). resamples: 0 for values without intervals.
    A metric whose label is not known has no cell; where only means are known, one that needs histograms has an empty
    one.
    """
    cells = _resampled(runs, groups, resamples, seed, table)
    for metric in table.values():
        if metric.per == "style" and runs[0].knows(metric.label):
            cells |= _of_styles(metric, runs, groups, seed, limited=resamples > 0)
    return _in_order(cells | _undefined(runs[0], table), table, runs[0].style_names)


def _resampled(
    runs: Sequence[Sample], groups: Sequence[str] | None, resamples: int, seed: int, table: Table
) -> Cells:
    """The metrics whose intervals are percentiles of resamples."""
    parts = [_parts(run, table) for run in runs]
    if not parts[0]:
        return {}
    columns = [[column for part in of_run for column in part.columns] for of_run in parts]
    values = np.array([[column.value for column in of_run] for of_run in columns])

    def resampled(weights: np.ndarray) -> np.ndarray:
        """The mean over the runs in each resample."""
        return np.mean([np.hstack([part.resampled(weights) for part in of_run]) for of_run in parts], axis=0)

    chunks = resamples_of(len(runs[0]), groups, resamples, seed)
    # without a resample there is no chunk
    drawn = np.concatenate([np.zeros((0, values.shape[1])), *map(resampled, chunks)])
    count = units(len(runs[0]), groups)
    limits = [_limits(*each, count) for each in zip(columns[0], values.T, drawn.T, strict=True)]
    return {
        c.name: _cell(c, v, *pair) for c, v, pair in zip(columns[0], values.mean(axis=0), limits, strict=True)
    }


def _limits(
    column: Column, values: np.ndarray, resampled: np.ndarray, count: int
) -> tuple[float | None, float | None]:
    if column.share and len(values) == 1 and np.isfinite(resampled).any():
        return interval_of_share(float(values[0]), resampled, column.n, min(count, column.n))
    return interval(values, resampled, count)


def _parts(sample: Sample, table: Table) -> list[Part]:
    """All metrics with one value a picture in one part, every metric over pictures in a part of its own."""
    known = [metric for metric in table.values() if sample.knows(metric.label)]
    means = [metric for metric in known if metric.per == "picture"]
    others = [_statistic(metric, sample) for metric in known if metric.per == "pictures"]
    return [_means(means, sample), *others] if means else others


def _counted(metric: Metric, sample: Sample) -> np.ndarray:
    return np.ones(len(sample), bool) if metric.among is None else metric.among(sample)


def _means(metrics: Sequence[Metric], sample: Sample) -> Part:
    """Means over pictures: a matrix product for all resamples of a chunk."""
    counted = np.array([_counted(metric, sample) for metric in metrics], np.float64)
    values, shares = np.zeros_like(counted), []
    for row, among, metric in zip(values, counted > 0, metrics, strict=True):
        row[among] = found = metric.function(sample.part(among))
        shares.append(found.dtype == bool)

    def resampled(weights: np.ndarray) -> np.ndarray:
        totals = weights @ counted.T
        return np.divide(weights @ values.T, totals, out=np.full_like(totals, np.nan), where=totals > 0)

    return Part(
        [
            Column(metric.name, metric.better, int(among.sum()), weighted_mean(row, among), share)
            for metric, row, among, share in zip(metrics, values, counted, shares, strict=True)
        ],
        resampled,
    )


def _statistic(metric: Metric, sample: Sample) -> Part:
    """A metric over pictures: prepared once, then asked in turn."""
    counted = _counted(metric, sample)
    rows, everywhere = np.flatnonzero(counted), bool(counted.all())
    statistic = metric.function(sample.part(counted))
    value = float(statistic(np.ones(len(rows))))

    def resampled(weights: np.ndarray) -> np.ndarray:
        if not np.isfinite(value):
            return np.full((len(weights), 1), np.nan)
        kept = weights if everywhere else np.take(weights, rows, axis=1)
        return np.array([[statistic(row)] for row in kept])

    return Part([Column(metric.name, metric.better, len(rows), value)], resampled)


def _of_styles(
    metric: Metric, runs: Sequence[Sample], groups: Sequence[str] | None, seed: int, *, limited: bool
) -> Cells:
    """The mean over styles and each style's value; limited: with the jackknife's intervals.

    A style with fewer than `FEW_POSITIVES` pictures has none: it would be too narrow.
    """
    rows = np.flatnonzero(_counted(metric, runs[0]))
    asked = [metric.function(run.part(_counted(metric, run))) for run in runs]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return _with_mean(np.mean([styles(weights) for styles in asked], axis=0))

    values = statistic(np.ones(len(rows)))
    limits = np.full((len(values), 2), np.nan)
    if limited:
        grouped = None if groups is None else [groups[row] for row in rows.tolist()]
        limits = jackknife_of_shares(statistic, len(rows), grouped, seed)
        limits[1:][runs[0].styles[rows].sum(axis=0) < FEW_POSITIVES] = np.nan
    return {
        name: _cell(Column(name, metric.better, len(rows), value), value, *map(_known, pair))
        for name, value, pair in zip(_names(metric, runs[0].style_names), values, limits, strict=True)
    }


def _with_mean(values: np.ndarray) -> np.ndarray:
    """The mean over the styles that have a value, then each style's."""
    return np.array([np.nanmean(values) if np.isfinite(values).any() else np.nan, *values])


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _names(metric: Metric, style_names: Sequence[str]) -> list[str]:
    """Of the metric's cells."""
    return [metric.name, *(f"ap_{name}" for name in style_names if metric.per == "style")]


def _undefined(sample: Sample, table: Table) -> Cells:
    """Empty cells of what needs histograms, where only means are known."""
    missing = [m for m in table.values() if m.label == "histogram" and sample.means_only]
    return {m.name: _cell(Column(m.name, m.better, len(sample), np.nan), np.nan, None, None) for m in missing}


def _in_order(cells: Cells, table: Table, style_names: Sequence[str]) -> Cells:
    names = [name for metric in table.values() for name in _names(metric, style_names)]
    return {name: cells[name] for name in names if name in cells}


def _cell(column: Column, value: float, low: float | None, high: float | None) -> dict[str, Any]:
    defined = bool(np.isfinite(value))
    return {
        "value": float(value) if defined else None,
        "low": low if defined else None,
        "high": high if defined else None,
        "n": column.n,
        "better": column.better,
    }
