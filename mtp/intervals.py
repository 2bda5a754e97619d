"""Metric values with 95 % bootstrap intervals over pictures, or over whole groups where the data has groups."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mtp import metrics
from mtp.ops.ratings import histograms

Statistic = Callable[[np.ndarray], float]  # weights (N,) -> value


def resampled_weights(pictures: int, groups: Sequence[str] | None, resamples: int, seed: int) -> np.ndarray:
    """(resamples, N): how often each picture is drawn; pictures of one group are drawn together."""
    rng = np.random.default_rng([seed, 2])
    _, place = np.unique(np.arange(pictures) if groups is None else np.array(groups), return_inverse=True)
    count = int(place.max()) + 1
    draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws[:, place].astype(np.float64)


def interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """2.5th and 97.5th percentile of the resamples in which the metric is defined."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def paired_difference(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str] | None, resamples: int, seed: int
) -> tuple[float, float, float]:
    """Mean of a - b over pictures, and its 95 % interval."""
    weights = resampled_weights(len(a), groups, resamples, seed)
    low, high = interval(weights @ (a - b) / weights.sum(axis=1))
    return float(np.mean(a - b)), low if low is not None else np.nan, high if high is not None else np.nan


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One split's truth, and how it is measured; `metrics` measures one row of predictions.

    votes: (N, K); mean_histogram, vote_noise: the reference rows (N, K) that skill is measured between.
    """

    votes: np.ndarray
    mean_histogram: np.ndarray
    vote_noise: np.ndarray
    threshold: float
    delta: float
    pkl_floor: float
    groups: Sequence[str] | None
    resamples: int
    seed: int

    def metrics(
        self,
        distribution: np.ndarray,
        *,
        p_high: np.ndarray | None = None,
        styles: np.ndarray | None = None,
        predicted_styles: np.ndarray | None = None,
        style_names: Sequence[str] = (),
    ) -> dict[str, dict[str, Any]]:
        """name -> value, low, high, n, better; None where undefined. styles: (N, S), NaN = unlabelled."""
        everywhere = np.ones(len(self.votes))
        statistics = self._distribution_statistics(distribution)
        if p_high is not None:
            truth_mean = metrics.means_and_stds(histograms(self.votes), distribution)[0][0]
            right = ((p_high > 0.5) == (truth_mean > self.threshold)).astype(float)
            statistics["two_category_accuracy"] = (lambda w: metrics.weighted_mean(right, w), everywhere)
        if styles is not None and predicted_styles is not None:
            statistics |= _style_statistics(styles, predicted_styles, style_names)
        weights = resampled_weights(len(self.votes), self.groups, self.resamples, self.seed)
        return {name: _row(name, statistic, kept, weights) for name, (statistic, kept) in statistics.items()}

    def _distribution_statistics(self, distribution: np.ndarray) -> dict[str, tuple[Statistic, np.ndarray]]:
        truth = histograms(self.votes)
        (truth_mean, mean), (truth_std, std) = metrics.means_and_stds(truth, distribution)
        everywhere = np.ones(len(truth))
        per_picture = metrics.per_picture(truth, distribution, self.pkl_floor)
        result: dict[str, tuple[Statistic, np.ndarray]] = {
            name: (_mean_of(values), everywhere) for name, values in per_picture.items()
        }
        high = (truth_mean > self.threshold).astype(float)
        right = ((mean > self.threshold) == (truth_mean > self.threshold)).astype(float)
        clear = (np.abs(truth_mean - self.threshold) > self.delta).astype(float)
        emd = per_picture["emd_r2"]
        worst = metrics.emd(truth, self.mean_histogram, 2)
        floor = metrics.emd(truth, self.vote_noise, 2)

        def skill(w: np.ndarray) -> float:
            room = w @ (worst - floor)
            return float(w @ (worst - emd) / room) if room > 0 else np.nan

        return result | {
            "srcc": (lambda w: metrics.srcc(truth_mean, mean, w), everywhere),
            "plcc": (lambda w: metrics.plcc(truth_mean, mean, w), everywhere),
            "rmse": (lambda w: metrics.rmse(truth_mean, mean, w), everywhere),
            "srcc_std": (lambda w: metrics.srcc(truth_std, std, w), everywhere),
            "accuracy": (_mean_of(right), everywhere),
            "accuracy_delta": (_mean_of(right), clear),
            "majority": (lambda w: metrics.majority(high, w), everywhere),
            "majority_delta": (lambda w: metrics.majority(high, w), clear),
            "skill": (skill, everywhere),
        }


def _mean_of(values: np.ndarray) -> Statistic:
    return lambda w: metrics.weighted_mean(values, w)


def style_metrics(
    styles: np.ndarray, predicted: np.ndarray, names: Sequence[str], resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """map and the styles' average precisions of labelled pictures (N, S), as `Evaluation.metrics` gives them."""
    if not len(styles):
        return {}
    weights = resampled_weights(len(styles), None, resamples, seed)
    statistics = _style_statistics(styles, predicted, names)
    return {name: _row(name, statistic, kept, weights) for name, (statistic, kept) in statistics.items()}


def _style_statistics(
    styles: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> dict[str, tuple[Statistic, np.ndarray]]:
    labelled = (~np.isnan(styles).any(axis=1)).astype(float)
    # few of AVA's pictures have a style: the others need not be sorted in every resample
    rows = np.flatnonzero(labelled)
    truth, predicted = styles[rows], predicted[rows]

    def precision(style: int) -> Statistic:
        return lambda w: metrics.average_precision(truth[:, style], predicted[:, style], w[rows])

    each = {f"ap_{name}": (precision(i), labelled) for i, name in enumerate(names)}

    def mean(w: np.ndarray) -> float:
        found = np.array([statistic(w) for statistic, _ in each.values()])
        return float(np.nanmean(found)) if np.isfinite(found).any() else np.nan

    return {"map": (mean, labelled), **each}


def _row(name: str, statistic: Statistic, kept: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    value = statistic(kept)
    low, high = (
        interval(np.array([statistic(w * kept) for w in weights])) if np.isfinite(value) else (None, None)
    )
    return {
        "value": float(value) if np.isfinite(value) else None,
        "low": low,
        "high": high,
        "n": int(kept.sum()),
        "better": metrics.METRICS.get(name, metrics.STYLE_AP).better,
    }
