"""The records: complete, true to what they say they need, and the documentation made of them."""

from pathlib import Path

import numpy as np
import pytest

from mtp.evaluation import metrics
from mtp.evaluation.metrics import METRICS, Metric
from mtp.evaluation.samples import Criteria, Sample

CRITERIA = Criteria(threshold=3.0, delta=0.5, pkl_floor=1e-7)
ROWS = np.random.default_rng(0).dirichlet(np.ones(5), (4, 50))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_records_are_complete(metric):
    assert METRICS[metric.name] is metric
    assert metric.formula and metric.source
    # the share of the larger class is a property of the data
    assert metric.better in ("low", "high") or metric.name.startswith("majority")


def value(metric: Metric, sample: Sample) -> float:
    kept = sample if metric.among is None else sample.part(metric.among(sample))
    found = metric.function(kept)
    return float(found.mean() if metric.per == "picture" else found(np.ones(len(kept))))


def same_mean(rows: np.ndarray) -> np.ndarray:
    """Other histograms of the same means: mass moves from a bar to both of its neighbours."""
    moved = np.minimum(rows[:, 2], 0.5)[:, None] * [0, 0.5, -1, 0.5, 0]
    return rows + moved


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_only_what_needs_histograms_sees_more_than_means(metric):
    truth, prediction, mean, _ = ROWS
    noise = 0.9 * truth + 0.1 * mean
    if metric.label == "styles":
        return
    p_high = np.random.default_rng(1).random(50)
    before = Sample(CRITERIA, truth, prediction, mean, noise, p_high)
    after = Sample(CRITERIA, same_mean(truth), same_mean(prediction), mean, noise, p_high)
    changed = abs(value(metric, before) - value(metric, after)) > 1e-6
    assert changed == (metric.label == "histogram")


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_direction(metric):
    """The truth as its own prediction is better than another prediction."""
    truth, prediction, mean, _ = ROWS
    if metric.label == "styles" or not metric.better:
        return
    other, same = (
        Sample(CRITERIA, truth, p, mean, truth, p_high)
        for p, p_high in ((prediction, np.full(50, 0.9)), (truth, truth @ np.arange(1, 6) / 6))
    )
    gain = value(metric, same) - value(metric, other)
    assert gain > 0 if metric.better == "high" else gain < 0


def test_documentation_is_current():
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text() == metrics.documentation(), (
        "python -m mtp.evaluation.metrics > docs/metrics.md makes the page again"
    )


def test_every_record_is_documented():
    toy = Metric("toy", "picture", "mean", "low", lambda s: s.mean, "|a toy|", "nowhere")
    page = metrics.documentation({**METRICS, "toy": toy})
    assert "| toy ↓ | per picture | mean | `\\|a toy\\|` | nowhere |" in page
    assert len(page.splitlines()) == len(metrics.documentation().splitlines()) + 1


def test_a_part_keeps_every_known_array():
    truth, prediction, mean, noise = ROWS
    sample = Sample(CRITERIA, truth, prediction, mean, noise, np.arange(50.0))
    part = sample.part(np.arange(50) % 2 == 0)
    np.testing.assert_array_equal(part.p_high, np.arange(0, 50, 2))
    np.testing.assert_array_equal(part.truth_mean, sample.truth_mean[::2])
    assert len(part) == 25 and not part.knows("styles")
