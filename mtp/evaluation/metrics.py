"""Every metric: its formula, which way is better, where it comes from. Numpy, float64.

Per-picture measures take truth and prediction (N, K), rows on the simplex, and give (N,) values. Measures of a
whole set take weights (N,) as well: how often each picture counts (ones; a bootstrap's resampled counts).
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from mtp.ratings import mean_and_std

Rows = Float[np.ndarray, "N K"]
Values = Float[np.ndarray, " N"]


@dataclasses.dataclass(frozen=True)
class Metric:
    """better: "low", "high" or "" for a count; source: where the formula is from."""

    formula: str
    better: str
    source: str


METRICS = {
    "emd_r2": Metric("(1/K sum_k |CDF_y(k) - CDF_p(k)|^2)^(1/2)", "low", "Eq. 9, r = 2"),
    "emd_r1": Metric("1/K sum_k |CDF_y(k) - CDF_p(k)|", "low", "Eq. 9, r = 1"),
    "ped": Metric("(sum_k (y_k - p_k)^2)^(1/2)", "low", "root of Eq. 5: what the tables hold"),
    "ped_sq": Metric("sum_k (y_k - p_k)^2", "low", "Eq. 5 as printed"),
    "cheb": Metric("max_k |y_k - p_k|", "low", "Eq. 7"),
    "pkl": Metric("1/2 [KL(y|p) + KL(p|y)], nats, floor eval.pkl_floor", "low", "Eq. 6"),
    "pkl_1e-3": Metric("as pkl, floor 1e-3", "low", "Eq. 6"),
    "kl": Metric("sum_k y_k ln(y_k / p_k), nats, p floored like pkl", "low", "Kullback and Leibler 1951"),
    "cos": Metric("y.p / (|y| |p|)", "high", "Eq. 8"),
    "srcc": Metric("rank correlation of the means, average ranks", "high", "Spearman 1904"),
    "plcc": Metric("linear correlation of the means", "high", "Pearson 1895"),
    "rmse": Metric("root mean square error of the means, ratings", "low", ""),
    "srcc_std": Metric("rank correlation of the standard deviations", "high", "Spearman 1904"),
    "accuracy": Metric("share with [mean_p > threshold] = [mean_y > threshold]", "high", "4.3, delta 0"),
    "accuracy_delta": Metric("as accuracy, pictures with |mean_y - threshold| > delta", "high", "4.3"),
    "majority": Metric("larger class' share of all pictures", "", "what accuracy must beat"),
    "majority_delta": Metric("larger class' share of the pictures kept at delta", "", "4.3"),
    "skill": Metric("(mean histogram - model) / (mean histogram - vote noise), emd_r2", "high", ""),
    "two_category_accuracy": Metric(
        "share with [p_high > 1/2] = [mean_y > threshold]", "high", "Eq. 3's head"
    ),
    "map": Metric("mean of the styles' average precisions", "high", "Murray et al. 2012"),
}
# undefined where only the pictures' mean ratings are known
OF_HISTOGRAMS = (
    "emd_r2", "emd_r1", "ped", "ped_sq", "cheb", "pkl", "pkl_1e-3", "kl", "cos", "srcc_std", "skill",
)  # fmt: skip
STYLE_AP = Metric("sum over thresholds of (recall step) x precision", "high", "Murray et al. 2012")


def check_rows(truth: np.ndarray, prediction: np.ndarray) -> None:
    """Errors: ValueError where the two are not rows on the simplex of one shape."""
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ValueError(
            f"truth and prediction must be (N, K) alike; they are {truth.shape}, {prediction.shape}"
        )
    for name, rows in (("truth", truth), ("prediction", prediction)):
        wrong = ~(np.all(rows >= 0, axis=1) & (np.abs(rows.sum(axis=1) - 1) < 1e-6))
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"rows must be non-negative and sum to one; {int(wrong.sum())} rows of {name} do not, the first "
                f"is row {first}: {rows[first]}"
            )


def ped_sq(truth: Rows, prediction: Rows) -> Values:
    """Squared Euclidean distance (Eq. 5)."""
    return np.sum(np.square(truth - prediction), axis=1)


def ped(truth: Rows, prediction: Rows) -> Values:
    """Euclidean distance: the root of Eq. 5, as the paper's tables hold it."""
    return np.sqrt(ped_sq(truth, prediction))


def cheb(truth: Rows, prediction: Rows) -> Values:
    """Chebyshev distance (Eq. 7)."""
    return np.max(np.abs(truth - prediction), axis=1)


def _floored(rows: Rows, floor: float) -> Rows:
    raised = np.maximum(rows, floor)
    return raised / raised.sum(axis=1, keepdims=True)


def pkl(truth: Rows, prediction: Rows, floor: float) -> Values:
    """Symmetric Kullback-Leibler divergence (Eq. 6), nats; both sides raised to `floor` and renormalised."""
    y, p = _floored(truth, floor), _floored(prediction, floor)
    return 0.5 * np.sum((y - p) * (np.log(y) - np.log(p)), axis=1)


def kl(truth: Rows, prediction: Rows, floor: float) -> Values:
    """KL(truth | prediction), nats; only the prediction is floored, 0 ln 0 = 0."""
    p = _floored(prediction, floor)
    logs = np.log(np.where(truth > 0, truth, 1.0)) - np.log(p)
    return np.sum(truth * logs, axis=1)


def cos(truth: Rows, prediction: Rows) -> Values:
    """Cosine similarity (Eq. 8)."""
    norms = np.linalg.norm(truth, axis=1) * np.linalg.norm(prediction, axis=1)
    return np.sum(truth * prediction, axis=1) / norms


def emd(truth: Rows, prediction: Rows, r: int) -> Values:
    """Earth mover's distance (Eq. 9), normalised by K inside the root, the root per picture."""
    difference = np.abs(np.cumsum(truth - prediction, axis=1))
    return np.mean(difference**r, axis=1) ** (1 / r)


def per_picture(truth: Rows, prediction: Rows, pkl_floor: float) -> dict[str, Values]:
    """All measures that have a value for each picture."""
    check_rows(truth, prediction)
    return {
        "emd_r2": emd(truth, prediction, 2),
        "emd_r1": emd(truth, prediction, 1),
        "ped": ped(truth, prediction),
        "ped_sq": ped_sq(truth, prediction),
        "cheb": cheb(truth, prediction),
        "pkl": pkl(truth, prediction, pkl_floor),
        "pkl_1e-3": pkl(truth, prediction, 1e-3),
        "kl": kl(truth, prediction, pkl_floor),
        "cos": cos(truth, prediction),
    }


def weighted_mean(values: Values, weights: Values) -> float:
    """NaN where nothing counts."""
    total = weights.sum()
    return float(weights @ values / total) if total else np.nan


def plcc(a: Values, b: Values, weights: Values) -> float:
    """Pearson's correlation; NaN where a side is constant."""
    total = weights.sum()
    if not total:
        return np.nan
    (a, varies), (b, varies_too) = _centred(a, weights / total), _centred(b, weights / total)
    if not (varies and varies_too):
        return np.nan
    return float(weights @ (a * b) / np.sqrt((weights @ np.square(a)) * (weights @ np.square(b))))


def _centred(values: Values, shares: Values) -> tuple[Values, bool]:
    """Deviations from the mean, and whether they are more than the rounding of a constant."""
    deviations = values - shares @ values
    rounding = 8 * np.finfo(np.float64).eps * np.abs(values).max()
    return deviations, bool(shares @ np.square(deviations) > rounding**2)


def average_ranks(values: Values, weights: Values) -> Values:
    """Ranks of a set in which value i occurs weights[i] times; ties share their mean rank."""
    _, place = np.unique(values, return_inverse=True)
    ties = np.bincount(place, weights)
    return (np.cumsum(ties) - (ties - 1) / 2)[place]


def srcc(a: Values, b: Values, weights: Values) -> float:
    """Spearman's rank correlation; NaN where a side is constant."""
    return plcc(average_ranks(a, weights), average_ranks(b, weights), weights)


def average_precision(labels: Values, scores: Values, weights: Values) -> float:
    """Sum over distinct scores, falling, of (recall step) x precision; NaN without a positive."""
    _, place = np.unique(-scores, return_inverse=True)
    hits = np.bincount(place, weights * labels)
    found = np.cumsum(hits)
    if not len(found) or not found[-1]:
        return np.nan
    seen = np.maximum(np.cumsum(np.bincount(place, weights)), 1)
    return float(np.sum(hits / found[-1] * found / seen))


def rmse(a: Values, b: Values, weights: Values) -> float:
    """Root of the mean squared difference."""
    return float(np.sqrt(weighted_mean(np.square(a - b), weights)))


def majority(high: Values, weights: Values) -> float:
    """Share of the larger of two classes."""
    share = weighted_mean(high, weights)
    return float(max(share, 1 - share))


def means_and_stds(truth: Rows, prediction: Rows) -> tuple[tuple[Values, Values], tuple[Values, Values]]:
    """(means, standard deviations) over the ratings 1..K, each of truth and prediction."""
    (truth_mean, truth_std), (mean, std) = mean_and_std(truth), mean_and_std(prediction)
    # summation order must not make two equal means a rank apart
    return (truth_mean.round(12), mean.round(12)), (truth_std.round(12), std.round(12))
