"""Metric values with 95 % bootstrap intervals over pictures, or over whole groups where the data has groups."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mtp.evaluation import metrics
from mtp.ratings import histograms

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
class Difference:
    """value: mean of a - b; low, high: its 95 % interval; p: two-sided bootstrap p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def seeded_difference(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str] | None, resamples: int, seed: int
) -> Difference:
    """a - b of values (S, N), paired by seed and picture; resamples seeds, and with them pictures or whole groups.

    p: twice the smaller share of resamples on either side of zero, (count + 1) / (resamples + 1).
    """
    pictures = resampled_weights(a.shape[1], groups, resamples, seed)
    seeds = resampled_seeds(len(a), resamples, seed)
    means = np.einsum("rs,sn,rn->r", seeds, a - b, pictures, optimize=True) / pictures.sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    side = min(np.sum(means <= 0), np.sum(means >= 0))
    p = min(1.0, 2 * (side + 1) / (resamples + 1))
    return Difference(float((a - b).mean()), float(low), float(high), float(p))


def resampled_seeds(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, S): share of each run among S drawn with replacement."""
    rng = np.random.default_rng([seed, 4])
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of the p-values of one page's claims (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate([(len(p) - rank) * p[i] for rank, i in enumerate(order)])
    result = np.empty(len(p))
    result[order] = np.minimum(adjusted, 1)
    return result.tolist()


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

    def metrics_over_seeds(self, distributions: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
        """As `metrics`, of several runs: the mean of their values; the interval resamples runs and pictures."""
        weights = resampled_weights(len(self.votes), self.groups, self.resamples, self.seed)
        shares = resampled_seeds(len(distributions), self.resamples, self.seed)
        runs = [self._distribution_statistics(d) for d in distributions]
        result = {}
        for name, (_, kept) in runs[0].items():
            values = [run[name][0](kept) for run in runs]
            if not np.isfinite(values).all():
                result[name] = _cell(name, np.nan, None, None, kept)
                continue
            resampled = np.array([[run[name][0](w * kept) for run in runs] for w in weights])
            low, high = interval((shares * resampled).sum(axis=1))
            result[name] = _cell(name, float(np.mean(values)), low, high, kept)
        return result

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
    return _cell(name, value, low, high, kept)


def _cell(name: str, value: float, low: float | None, high: float | None, kept: np.ndarray) -> dict[str, Any]:
    return {
        "value": float(value) if np.isfinite(value) else None,
        "low": low,
        "high": high,
        "n": int(kept.sum()),
        "better": metrics.METRICS.get(name, metrics.STYLE_AP).better,
    }
