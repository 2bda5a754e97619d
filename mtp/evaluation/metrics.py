"""Every metric, one record each; tables, intervals, results.json and docs/metrics.md are made from the records.

    python -m mtp.evaluation.metrics > docs/metrics.md

To add a metric, write its function and add its record to METRICS.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from mtp.evaluation.distances import cheb, cos, emd, kl, ped, ped_sq, pkl
from mtp.evaluation.samples import Criteria, Sample
from mtp.evaluation.statistics import (
    Statistic,
    majority,
    plcc,
    precisions,
    rank_correlation,
    rmse,
)

ARROWS = {"low": " ↓", "high": " ↑", "": ""}


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric.

    per: what `function` returns for a Sample of N pictures:
      "picture": values (N,), whose mean is the metric; of booleans that is a share;
      "pictures": a function of weights (N,), how often each picture counts, that returns the metric, NaN where it is
      undefined;
      "style": a function of weights (N,) that returns a value a style (S,); the metric is their mean, and the values
      themselves are reported as ap_STYLE.
    label: what must be known: "histogram" (undefined where the truth is a mean rating alone), "rating" (means on one
    scale), "mean" (on any scales), "truth" (no prediction at all), "high" (the output of the two-category head) or
    "styles".
    better: "low", "high", or "" for a property of the data. source: where the formula is from.
    among: which pictures count, a mask (N,); None: all. `function` is given these alone.
    """

    name: str
    per: Literal["picture", "pictures", "style"]
    label: Literal["histogram", "rating", "mean", "truth", "high", "styles"]
    better: Literal["low", "high", ""]
    function: Callable[[Sample], Any]
    formula: str
    source: str
    among: Callable[[Sample], np.ndarray] | None = None

    @property
    def heading(self) -> str:
        """The name with an arrow towards better values."""
        return self.name + ARROWS[self.better]


def accuracy(sample: Sample) -> np.ndarray:
    """Whether the predicted mean is on the true mean's side of the threshold, per picture."""
    return sample.high == sample.truth_high


def two_category_accuracy(sample: Sample) -> np.ndarray:
    """Whether the two-category head gives the true class more than 1/2, per picture."""
    return (sample.p_high > 0.5) == sample.truth_high


def larger_class(sample: Sample) -> Statistic:
    """Share of the larger of the classes high and low: the accuracy of a constant answer."""
    high = sample.truth_high.astype(float)
    return lambda weights: majority(high, weights)


def skill(sample: Sample) -> Statistic:
    """Where the mean emd_r2 lies between the mean histogram's (0) and vote noise's (1)."""
    rows = (sample.mean_histogram, sample.prediction, sample.vote_noise)
    worst, ours, floor = (emd(sample.truth, row, 2) for row in rows)

    def value(weights: np.ndarray) -> float:
        range_ = weights @ (worst - floor)
        return float(weights @ (worst - ours) / range_) if range_ > 0 else np.nan

    return value


def _clear(sample: Sample) -> np.ndarray:
    return sample.clear


def _labelled(sample: Sample) -> np.ndarray:
    return sample.labelled


_RECORDS = (
    Metric(
        "emd_r2", "picture", "histogram", "low", lambda s: emd(s.truth, s.prediction, 2),
        "(1/K sum_k |CDF_y(k) - CDF_p(k)|^2)^(1/2)", "Eq. 9, r = 2",
    ),
    Metric(
        "emd_r1", "picture", "histogram", "low", lambda s: emd(s.truth, s.prediction, 1),
        "1/K sum_k |CDF_y(k) - CDF_p(k)|", "Eq. 9, r = 1",
    ),
    Metric(
        "ped", "picture", "histogram", "low", lambda s: ped(s.truth, s.prediction),
        "(sum_k (y_k - p_k)^2)^(1/2)", "root of Eq. 5: what the paper's tables hold",
    ),
    Metric(
        "ped_sq", "picture", "histogram", "low", lambda s: ped_sq(s.truth, s.prediction),
        "sum_k (y_k - p_k)^2", "Eq. 5 as printed",
    ),
    Metric(
        "cheb", "picture", "histogram", "low", lambda s: cheb(s.truth, s.prediction),
        "max_k |y_k - p_k|", "Eq. 7",
    ),
    Metric(
        "pkl", "picture", "histogram", "low", lambda s: pkl(s.truth, s.prediction, s.criteria.pkl_floor),
        "1/2 [KL(y|p) + KL(p|y)], nats; y and p raised to eval.pkl_floor and renormalised", "Eq. 6",
    ),
    Metric(
        "pkl_1e-3", "picture", "histogram", "low", lambda s: pkl(s.truth, s.prediction, 1e-3),
        "as pkl with the floor 1e-3", "Eq. 6",
    ),
    Metric(
        "kl", "picture", "histogram", "low", lambda s: kl(s.truth, s.prediction, s.criteria.pkl_floor),
        "sum_k y_k ln(y_k / p_k), nats; p raised to eval.pkl_floor and renormalised", "Kullback and Leibler 1951",
    ),
    Metric(
        "cos", "picture", "histogram", "high", lambda s: cos(s.truth, s.prediction),
        "y.p / (|y| |p|)", "Eq. 8",
    ),
    Metric(
        "srcc", "pictures", "mean", "high", lambda s: rank_correlation(s.truth_mean, s.mean),
        "rank correlation of the means; ties share their average rank", "Spearman 1904",
    ),
    Metric(
        "plcc", "pictures", "mean", "high", lambda s: lambda w: plcc(s.truth_mean, s.mean, w),
        "linear correlation of the means", "Pearson 1895",
    ),
    Metric(
        "rmse", "pictures", "rating", "low", lambda s: lambda w: rmse(s.truth_mean, s.mean, w),
        "(mean of (mean_y - mean_p)^2)^(1/2), in ratings", "Hyndman and Koehler 2006",
    ),
    Metric(
        "srcc_std", "pictures", "histogram", "high", lambda s: rank_correlation(s.truth_std, s.std),
        "rank correlation of the standard deviations; ties share their average rank", "Spearman 1904",
    ),
    Metric(
        "accuracy", "picture", "mean", "high", accuracy,
        "share with [mean_p > threshold] = [mean_y > threshold]", "Section 4.3, delta 0",
    ),
    Metric(
        "accuracy_delta", "picture", "mean", "high", accuracy,
        "as accuracy, of the pictures with |mean_y - threshold| > delta", "Section 4.3", _clear,
    ),
    Metric(
        "majority", "pictures", "truth", "", larger_class,
        "larger of the shares with mean_y > threshold and without", "base rate of Section 4.3's accuracy",
    ),
    Metric(
        "majority_delta", "pictures", "truth", "", larger_class,
        "as majority, of the pictures with |mean_y - threshold| > delta", "base rate of Section 4.3's accuracy", _clear,
    ),
    Metric(
        "skill", "pictures", "histogram", "high", skill,
        "(mean histogram - model) / (mean histogram - vote noise), each a mean emd_r2",
        "skill score, Murphy 1988; vote noise stands for a perfect forecast",
    ),
    Metric(
        "two_category_accuracy", "picture", "high", "high", two_category_accuracy,
        "share with [p_high > 1/2] = [mean_y > threshold]", "Section 4.3, of the head that Eq. 3 trains",
    ),
    Metric(
        "two_category_accuracy_delta", "picture", "high", "high", two_category_accuracy,
        "as two_category_accuracy, of the pictures with |mean_y - threshold| > delta", "Section 4.3", _clear,
    ),
    Metric(
        "map", "style", "styles", "high", lambda s: precisions(s.styles, s.predicted_styles),
        "mean over styles of ap_STYLE = sum over falling scores of (recall step) x precision", "Murray et al. 2012",
        _labelled,
    ),
)  # fmt: skip
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _RECORDS}


def per_picture(truth: np.ndarray, prediction: np.ndarray, criteria: Criteria) -> dict[str, np.ndarray]:
    """name -> values (N,) of all metrics between histograms (N, K) that have one for each picture."""
    sample = Sample(criteria, truth, prediction)
    chosen = [m for m in METRICS.values() if m.per == "picture" and m.label == "histogram"]
    return {metric.name: metric.function(sample) for metric in chosen}


HEAD = """# Metrics

Made from the records in `mtp/evaluation/metrics.py` by `python -m mtp.evaluation.metrics > docs/metrics.md`.

y is a picture's true histogram over the ratings 1..K, p the predicted one, CDF their cumulative sums, mean_y and mean_p
their mean ratings. Equations and sections are those of Sun and Zhou, "Integrity-Preserving Image Aesthetic Assessment".
A metric per picture is averaged over the pictures; one over pictures has a value for the set alone. ↓ lower is better,
↑ higher is better, neither: a property of the data. threshold and delta are loss.threshold and loss.delta as training
resolved them. Every metric has a 95 % interval: percentiles of eval.bootstrap resamples of the pictures, of whole
groups where the data has groups (too narrow below some 30 groups). That of a share (accuracy) is Wilson's, of as many
independent pictures as vary like the resamples. That of average precision is the jackknife's on the logit's scale,
since resampling would double its bias; a style with fewer than 5 positives has none. [How often each holds the true
value](../experiments/results/coverage.md) is simulated.

Needs: "histogram": a predicted distribution, and not defined where only the pictures' mean ratings are known; "rating":
a predicted distribution, of the truth the mean rating is enough; "mean": the same, and predictions may be on another
scale than the votes, each with a threshold of its own; "truth": the mean rating alone, no prediction; "high": the
two-category head's output; "styles": pictures with style labels, which alone count.
"""
KINDS = {"picture": "per picture", "pictures": "over pictures", "style": "per style"}


def documentation(table: Mapping[str, Metric] = METRICS) -> str:
    """docs/metrics.md."""
    header = ["metric", "kind", "needs", "formula", "source"]
    rows = [[m.heading, KINDS[m.per], m.label, f"`{m.formula}`", m.source] for m in table.values()]
    # a stroke within a cell would end it
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in (header, ["---"] * 5, *rows)]
    return HEAD + "\n" + "".join(f"| {line} |\n" for line in lines)


if __name__ == "__main__":
    print(documentation(), end="")
