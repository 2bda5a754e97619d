"""Tables for the terminal and in Markdown."""

import re

import numpy as np

from mtp.evaluation import references
from mtp.evaluation.measure import Evaluation, measure
from mtp.evaluation.metrics import METRICS, Metric
from mtp.evaluation.samples import Criteria
from mtp.ratings import histograms
from mtp.report import tables


def results(name="votes"):
    rng = np.random.default_rng(0)
    votes = np.array([rng.multinomial(80, p) for p in rng.dirichlet(np.ones(5), 30)])
    rows = references.rows(votes, histograms(votes).mean(0), seed=0)
    how = Evaluation(
        votes=votes, mean_histogram=rows["mean histogram"], vote_noise=rows["vote noise"],
        criteria=Criteria(threshold=3.0, delta=0.5, pkl_floor=1e-7), groups=None, resamples=20, seed=0,
    )  # fmt: skip
    styles = np.eye(2, dtype=np.float32)[np.arange(30) % 2]
    measured = [{"row": row, "metrics": how.metrics(values)} for row, values in rows.items()]
    measured[0]["metrics"] |= how.metrics(
        rows["vote noise"],
        styles=styles,
        predicted_styles=0.5 * styles + rng.random((30, 2)),
        style_names=("HDR", "Macro"),
    )
    return {
        "split": {"name": "test", "sha256": "ab" * 32, "pictures": 30}, "rows": measured, "seed": 0, "step": 7,
        "bootstrap": 20, "pkl_floor": 1e-7, "threshold": 3.0, "delta": 0.5, "eval_size": "native",
        "config": {"data": {"name": name}}, "demo_code": "cd" * 32,
    }  # fmt: skip


def test_terminal_columns_are_aligned_and_what_is_undefined_says_so():
    lines = tables.terminal(results()).splitlines()
    body = lines[lines.index("") + 1 :]
    assert len({len(line) for line in body}) == 1
    assert [line.split("  ")[0] for line in body] == ["row", "uniform", "mean histogram", "vote noise"]
    assert "emd_r2 ↓" in body[0] and "srcc ↑" in body[0]
    assert "n/a" in body[2]


def test_markdown_has_intervals_and_the_styles():
    text = tables.markdown(results())
    assert text.count("| --- |") >= 2
    assert re.search(r"\| HDR \| 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] \| 30 \|", text)
    for line in text.splitlines():
        if line.startswith("|") and "---" not in line:
            assert line.endswith("|")


def test_split_hash_and_counts_stand_above_the_table():
    text = tables.markdown(results())
    assert "test split, 30 pictures, sha256 abababababab" in text
    assert "threshold 3, delta 0.5 keeps" in text


def test_intervals_of_few_groups_are_called_too_narrow():
    many, few = (tables.markdown({**results(), "groups": groups}) for groups in (30, 29))
    assert "20 resamples of 30 groups" in many and "too narrow" not in many
    assert "20 resamples of 29 groups" in few
    assert "intervals from resamples of fewer than 30 groups are too narrow" in few
    assert "groups" not in tables.markdown(results()).split("|")[0]


def test_synthetic_numbers_are_called_synthetic():
    assert "synthetic" in tables.terminal(results("demo")) and "synthetic" in tables.markdown(results("demo"))
    assert "synthetic" not in tables.markdown(results("votes"))


def test_markdown_shows_and_explains_every_metric():
    text = tables.markdown(results())
    for metric in METRICS.values():
        assert f"- {metric.heading}: `{metric.formula}` ({metric.source})" in text or metric.label == "high"
        assert f"| {metric.heading} " in text or metric.label in ("high", "styles")


def test_a_new_record_is_in_the_table():
    """Of all rows that measured it."""
    toy = Metric("toy", "picture", "mean", "low", lambda s: np.abs(s.truth_mean - s.mean), "|a|", "nowhere")
    table = {**METRICS, "toy": toy}
    content = results()
    rng = np.random.default_rng(0)
    votes = rng.integers(1, 9, (30, 5))
    row = references.rows(votes, histograms(votes).mean(0), seed=0)
    how = Evaluation(
        votes=votes, mean_histogram=row["mean histogram"], vote_noise=row["vote noise"],
        criteria=Criteria(threshold=3.0, delta=0.5, pkl_floor=1e-7), groups=None, resamples=20, seed=0,
    )  # fmt: skip
    content["rows"] = [
        {"row": name, "metrics": measure([how.sample(values)], None, 20, 0, table)}
        for name, values in row.items()
    ]
    text = tables.markdown(content, table)
    shown = tables.number(content["rows"][2]["metrics"]["toy"], with_interval=True)
    header, line = (
        next(found for found in text.splitlines() if mark in found).strip("| ").split(" | ")
        for mark in (" toy ↓ ", shown)
    )
    assert line[0] == "vote noise" and line[header.index("toy ↓")] == shown
    assert "- toy ↓: `|a|` (nowhere)" in text
