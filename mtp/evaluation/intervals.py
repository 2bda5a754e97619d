"""95 % bootstrap intervals over pictures, or over whole groups where the data has groups."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

CHUNK = 4_000_000  # weights drawn at a time: 32 MB of float64


def resamples_of(
    pictures: int, groups: Sequence[str] | None, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Chunks (R, N) of `resamples` rows in all: how often each picture is drawn; groups are drawn as a whole."""
    rng = np.random.default_rng([seed, 2])
    place = None if groups is None else np.unique(np.array(groups), return_inverse=True)[1]
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
