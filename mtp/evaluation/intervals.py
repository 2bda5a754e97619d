"""95 % intervals over pictures, or over whole groups where the data has groups.

Percentiles of bootstrap resamples, which hold for means and correlations; Wilson's for shares, which near 1 hardly vary
between resamples; Student's t over several runs; the jackknife for average precision, whose bias resampling would
double. How often each holds the true value is simulated (`experiments/coverage.py`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.special import expit, logit, stdtr, stdtrit

CHUNK = 4_000_000  # weights drawn at a time: 32 MB of float64
BLOCKS = 200  # of pictures or groups, which the jackknife leaves out in turn
LEAST_SHARE = 1e-3  # to which a corrected share is raised: one below zero has no logit
FEW_POSITIVES = 5  # of a style, below which the jackknife's interval is too narrow
FEW_GROUPS = 30  # below, percentiles of resampled groups are too narrow


def resamples_of(
    pictures: int, groups: Sequence[str] | None, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Chunks (R, N) of `resamples` rows in all: how often each picture is drawn; groups are drawn as a whole."""
    rng = np.random.default_rng([seed, 2])
    place = None if groups is None else _places(groups)
    count = units(pictures, groups)
    rows = max(1, CHUNK // pictures)
    for start in range(0, resamples, rows):
        # as a multinomial draw of equal probabilities, in a fifteenth of its time
        draws = np.stack(
            [
                np.bincount(rng.integers(count, size=count), minlength=count)
                for _ in range(min(rows, resamples - start))
            ]
        )
        yield (draws if place is None else np.take(draws, place, axis=1)).astype(np.float64)


def _places(groups: Sequence[str]) -> np.ndarray:
    """The number of each picture's group."""
    return np.unique(np.array(groups), return_inverse=True)[1]


def jackknife_of_shares(
    statistic: Callable[[np.ndarray], np.ndarray], pictures: int, groups: Sequence[str] | None, seed: int
) -> np.ndarray:
    """Intervals (M, 2) of values in 0..1; NaN where there is none.

    statistic: weights (N,) -> values (M,). With t of all pictures and t_b without block b of B (Efron and Tibshirani
    1993, chapter 11), the bias is (B - 1) (mean t_b - t) and the standard error
    s = ((B - 1) / B sum_b (t_b - mean t_b)^2)^(1/2). The interval is that of Student's t about the corrected value c on
    the logit's scale, where the error is s / (c (1 - c)), as a share leaves 0..1 on neither side.
    """
    place = np.arange(pictures) if groups is None else _places(groups)
    count = units(pictures, groups)
    blocks = min(BLOCKS, count)
    if blocks < 2:
        return np.full((len(statistic(np.ones(pictures))), 2), np.nan)
    block = (np.random.default_rng([seed, 5]).permutation(count) % blocks)[place]
    value = statistic(np.ones(pictures))
    left = np.array([statistic((block != b).astype(np.float64)) for b in range(blocks)])
    middle = left.mean(axis=0)
    error = np.sqrt((blocks - 1) / blocks * np.square(left - middle).sum(axis=0))
    corrected = np.clip(value - (blocks - 1) * (middle - value), LEAST_SHARE, 1 - LEAST_SHARE)
    half = stdtrit(blocks - 1, 0.975) * error / (corrected * (1 - corrected))
    # a value that no block changes tells nothing of its error
    half[~(error > 0)] = np.nan
    return expit(logit(corrected)[:, None] + half[:, None] * [-1, 1])


def interval(values: np.ndarray, resampled: np.ndarray, count: int) -> tuple[float | None, float | None]:
    """Of a metric's values (S,) of runs, and the runs' mean in each resample (R,) of `count` pictures or groups.

    Percentiles of the resamples in which the metric is defined; of several runs Student's t (`over_runs`). None where
    there is no resample or no value.
    """
    defined = resampled[np.isfinite(resampled)]
    if not len(defined) or not np.isfinite(values).all():
        return None, None
    if len(values) == 1:
        low, high = np.percentile(defined, [2.5, 97.5])
        return float(low), float(high)
    error, freedom = over_runs(values, float(defined.var()), count)
    half = float(stdtrit(freedom, 0.975)) * error
    return float(values.mean()) - half, float(values.mean()) + half


def interval_of_share(value: float, resampled: np.ndarray, pictures: int, count: int) -> tuple[float, float]:
    """Of a share among `pictures` in `count` units, pictures or groups; resampled (R,): the share in each resample.

    Wilson's score interval (1927) of n trials with Student's quantile q of count - 1: the shares p with
    |p - value| <= q (p (1 - p) / n)^(1/2). n is as many independent pictures as vary like the resamples,
    value (1 - value) / variance, at most `pictures`; `count` where nothing varies.
    """
    spread = float(np.nanvar(resampled))
    n = min(value * (1 - value) / spread, pictures) if spread > 0 else count
    q = float(stdtrit(max(count - 1, 1), 0.975))
    middle = (value + q**2 / (2 * n)) / (1 + q**2 / n)
    half = q / (1 + q**2 / n) * float(np.sqrt(value * (1 - value) / n + q**2 / (4 * n**2)))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def paired_difference(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str] | None, resamples: int, seed: int
) -> tuple[float, float, float]:
    """Mean of a - b over pictures, and its 95 % interval."""
    found = seeded_difference(a[None], b[None], groups, resamples, seed)
    return found.value, found.low, found.high


@dataclasses.dataclass(frozen=True)
class Difference:
    """value: mean of a - b; low, high: its 95 % interval; p: two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def seeded_difference(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str] | None, resamples: int, seed: int
) -> Difference:
    """a - b of values (S, N), paired by seed and picture; pictures or whole groups are resampled.

    Of one seed: percentiles, and p is twice the smaller share of resamples on either side of zero,
    (count + 1) / (resamples + 1). Of several: Student's t, `over_runs`.
    """
    of_runs, value = (a - b).mean(axis=1), float((a - b).mean())
    means = np.concatenate(
        [w @ (a - b).mean(axis=0) / w.sum(axis=1) for w in resamples_of(a.shape[1], groups, resamples, seed)]
    )
    if len(a) == 1:
        low, high = np.percentile(means, [2.5, 97.5])
        side = min(np.sum(means <= 0), np.sum(means >= 0))
        return Difference(value, float(low), float(high), min(1.0, 2 * (side + 1) / (resamples + 1)))
    error, freedom = over_runs(of_runs, float(means.var()), units(a.shape[1], groups))
    half = float(stdtrit(freedom, 0.975)) * error
    p = 2 * float(stdtr(freedom, -abs(value) / error)) if error > 0 else float(value == 0)
    return Difference(value, value - half, value + half, p)


def over_runs(values: np.ndarray, spread: float, count: int) -> tuple[float, float]:
    """Standard error and degrees of freedom of the mean of S runs' values of the same pictures.

    spread: variance of that mean over resamples of the `count` pictures or groups. Its sum with the runs' variance
    var / S has by Satterthwaite (1946) the freedom (sum)^2 / ((var / S)^2 / (S - 1) + spread^2 / (count - 1)). To
    resample a few runs would give intervals that are too narrow.
    """
    between = float(np.var(values, ddof=1)) / len(values)
    terms = between**2 / (len(values) - 1) + spread**2 / max(count - 1, 1)
    return float(np.sqrt(between + spread)), (between + spread) ** 2 / terms if terms > 0 else 1.0


def units(pictures: int, groups: Sequence[str] | None) -> int:
    """How many pictures or groups are drawn."""
    return pictures if groups is None else len(set(groups))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of the p-values of one page's claims (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate([(len(p) - rank) * p[i] for rank, i in enumerate(order)])
    result = np.empty(len(p))
    result[order] = np.minimum(adjusted, 1)
    return result.tolist()
