"""95 % intervals over pictures, or over whole groups where the data has groups.

Percentiles of bootstrap resamples, which hold for means and correlations; the jackknife for average precision, whose
bias resampling would double. How often each holds the true value is simulated (`experiments/coverage.py`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.special import expit, logit, stdtrit

CHUNK = 4_000_000  # weights drawn at a time: 32 MB of float64
BLOCKS = 200  # of pictures or groups, which the jackknife leaves out in turn
LEAST_SHARE = 1e-3  # to which a corrected share is raised: one below zero has no logit
FEW_GROUPS = 30  # below, percentiles of resampled groups are too narrow


def resamples_of(
    pictures: int, groups: Sequence[str] | None, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Chunks (R, N) of `resamples` rows in all: how often each picture is drawn; groups are drawn as a whole."""
    rng = np.random.default_rng([seed, 2])
    place = None if groups is None else _places(groups)
    count = pictures if place is None else int(place.max()) + 1
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
    units = int(place.max()) + 1 if pictures else 0
    blocks = min(BLOCKS, units)
    if blocks < 2:
        return np.full((len(statistic(np.ones(pictures))), 2), np.nan)
    block = (np.random.default_rng([seed, 5]).permutation(units) % blocks)[place]
    value = statistic(np.ones(pictures))
    left = np.array([statistic((block != b).astype(np.float64)) for b in range(blocks)])
    middle = left.mean(axis=0)
    error = np.sqrt((blocks - 1) / blocks * np.square(left - middle).sum(axis=0))
    corrected = np.clip(value - (blocks - 1) * (middle - value), LEAST_SHARE, 1 - LEAST_SHARE)
    half = stdtrit(blocks - 1, 0.975) * error / (corrected * (1 - corrected))
    # a value that no block changes tells nothing of its error
    half[~(error > 0)] = np.nan
    return expit(logit(corrected)[:, None] + half[:, None] * [-1, 1])


def resampled_seeds(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, S): share of each run among S drawn with replacement."""
    rng = np.random.default_rng([seed, 4])
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds


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
    found = seeded_difference(a[None], b[None], groups, resamples, seed)
    return found.value, found.low, found.high


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
    of_seeds = np.concatenate(
        [
            w @ (a - b).T / w.sum(axis=1, keepdims=True)
            for w in resamples_of(a.shape[1], groups, resamples, seed)
        ]
    )
    means = np.sum(resampled_seeds(len(a), resamples, seed) * of_seeds, axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    side = min(np.sum(means <= 0), np.sum(means >= 0))
    p = min(1.0, 2 * (side + 1) / (resamples + 1))
    return Difference(float((a - b).mean()), float(low), float(high), float(p))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of the p-values of one page's claims (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate([(len(p) - rank) * p[i] for rank, i in enumerate(order)])
    result = np.empty(len(p))
    result[order] = np.minimum(adjusted, 1)
    return result.tolist()
