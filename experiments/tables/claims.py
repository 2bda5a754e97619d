"""Whether rows of a page differ from a row that was named beforehand: differences, intervals, verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtp.evaluation.intervals import holm, seeded_difference
from mtp.evaluation.measure import Evaluation
from mtp.evaluation.metrics import METRICS, per_picture
from mtp.ratings import histograms

LEAST_SEEDS = 3  # for a verdict
LEVEL = 0.05  # of Holm-adjusted p-values


class Pair(NamedTuple):
    """Predictions (N, K) of a row, a seed each, and those of the named row with the same seeds."""

    ours: Sequence[np.ndarray]
    others: Sequence[np.ndarray]


def claims(
    pairs: Mapping[str, Pair], evaluation: Evaluation, metric: str, level: float = LEVEL
) -> list[dict[str, Any]]:
    """The difference of each row to the named one, paired by seed and picture; Holm over those with three seeds.

    metric: one with a value for each picture. Each claim: row, seeds, value, low, high, p, p_holm, verdict.
    """
    found = [_difference(name, pair, evaluation, metric) for name, pair in pairs.items()]
    judged = [claim for claim in found if claim["seeds"] >= LEAST_SEEDS]
    for claim, p in zip(judged, holm([c["p"] for c in judged]), strict=True):
        claim["p_holm"] = p
        claim["verdict"] = _direction(claim["value"], metric) if p < level else "no difference shown"
    for claim in found:
        claim.setdefault("p_holm", None)
        claim.setdefault("verdict", f"none: {claim['seeds']} of {LEAST_SEEDS} seeds")
    return found


def _difference(name: str, pair: Pair, evaluation: Evaluation, metric: str) -> dict[str, Any]:
    truth = histograms(evaluation.votes)
    ours, others = (
        np.array([per_picture(truth, run, evaluation.criteria)[metric] for run in runs]) for runs in pair
    )
    d = seeded_difference(ours, others, evaluation.groups, evaluation.resamples, evaluation.seed)
    return {"row": name, "seeds": len(ours), "value": d.value, "low": d.low, "high": d.high, "p": d.p}


def _direction(difference: float, metric: str) -> str:
    return "better" if (difference < 0) == (METRICS[metric].better == "low") else "worse"
