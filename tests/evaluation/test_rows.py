"""Rows of metrics of networks that predict some of the tasks."""

import dataclasses
import itertools

import numpy as np
import pytest

from mtp.config import get_config
from mtp.data.schema import Dataset
from mtp.evaluation.metrics import METRICS
from mtp.evaluation.results import assemble, prediction_columns
from mtp.evaluation.rows import metric_rows, point_metrics
from mtp.inference.facts import Facts
from mtp.inference.predictions import Predictions
from mtp.report import tables
from mtp.tasks import TASKS

N, K = 30, 5
NAMES = ("a", "b", "c")
FACTS = Facts(K, NAMES, "softmax", 3.0, 0.5, 0.25, (1 / K,) * K)
NEEDS = {"distribution": {"histogram", "rating", "mean"}, "two_category": {"high"}, "style": {"styles"}}
SUBSETS = [tasks for n in (1, 2, 3) for tasks in itertools.combinations(TASKS, n)]


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    return Dataset(
        name="x", images=tuple(f"{i:02d}" for i in range(N)), votes=rng.multinomial(50, np.full(K, 1 / K), N),
        sizes=np.full((N, 2), 64, np.int32), splits=("test",) * N, groups=None,
        styles=np.eye(3, dtype=np.float32)[np.arange(N) % 3], style_names=NAMES, metadata={}, read=lambda _: b"",
    )  # fmt: skip


@pytest.fixture
def config():
    c = get_config()
    c.eval.bootstrap = 20
    return c


def predictions_of(tasks):
    rng = np.random.default_rng(1)
    drawn = {
        "distribution": rng.dirichlet(np.ones(K), N), "two_category": rng.random(N), "style": rng.random((N, 3)),
    }  # fmt: skip
    return Predictions(np.arange(N), {task: drawn[task] for task in tasks})


@pytest.mark.parametrize("tasks", SUBSETS, ids="+".join)
def test_a_table_has_what_the_tasks_define_and_nothing_else(tasks, dataset, config):
    content = assemble(
        dataset, predictions_of(tasks), FACTS, config, split="test", size_rule="native", step=1, finished=True,
        origin={}, notes=(), pixels=1.0,
    )  # fmt: skip
    model, *references = content["rows"]
    labels = set().union({"truth"}, *(NEEDS[task] for task in tasks))
    defined = {name for name, metric in METRICS.items() if metric.label in labels}
    assert {name for name in model["metrics"] if name in METRICS} == defined
    assert bool(references) == ("distribution" in tasks)
    whole = metric_rows(dataset, predictions_of(TASKS), FACTS, config)[0]["metrics"]
    for name, cell in model["metrics"].items():
        assert cell == whole[name], name
    page, shown = tables.markdown(content), tables.terminal(content)
    kept = model["metrics"]["majority_delta"]["n"]
    assert f"threshold 3, delta 0.5 keeps {kept} pictures" in page and f"keeps {kept} pictures" in shown
    for name, metric in METRICS.items():
        assert (f"- {metric.heading}: `" in page) == (name in defined), name
    criterion = METRICS[TASKS[tasks[0]].criterion.metric]
    assert criterion.heading in shown


@pytest.mark.parametrize("tasks", SUBSETS, ids="+".join)
def test_every_tasks_criterion_is_defined_by_its_own_predictions(tasks, dataset, config):
    names = [TASKS[task].criterion.metric for task in TASKS]
    found = point_metrics(dataset, predictions_of(tasks), FACTS, config, names)
    assert set(found) == {TASKS[task].criterion.metric for task in tasks}


def test_cells_of_what_is_not_predicted_are_empty(dataset):
    found = prediction_columns(dataset, predictions_of(("two_category",)), FACTS)
    whole = prediction_columns(dataset, predictions_of(TASKS), FACTS)
    assert set(whole) - set(found) == {f"pred_style_{name}" for name in NAMES}
    empty = {name for name, cells in found.items() if not any(cells)}
    assert empty == {*(f"pred_{k + 1}" for k in range(K)), "pred_mean", "pred_std", "share_above"}
    above = [float(cell) > 0.5 for cell in found["p_high"]]
    assert found["class"] == ["high" if high else "low" for high in above]
    assert set(prediction_columns(dataset, predictions_of(("style",)), FACTS)["class"]) == {""}


def test_the_true_class_stands_beside_the_predicted_one(dataset):
    """Rounded numbers could not tell on which side a picture stands whose mean is the threshold."""
    votes = dataset.votes.copy()
    votes[0] = 0
    votes[0, [1, 3]] = 7  # a mean of 3, the threshold
    tied = dataclasses.replace(dataset, votes=votes)
    found = prediction_columns(tied, predictions_of(TASKS), FACTS)
    names = list(found)
    assert names.index("truth_class") + 1 == names.index("class")
    means = (
        votes[predictions_of(TASKS).indices] @ np.arange(1, K + 1),
        votes[predictions_of(TASKS).indices].sum(axis=1),
    )
    wanted = [
        "high" if total > FACTS.threshold * count else "low" for total, count in zip(*means, strict=True)
    ]
    assert found["truth_class"] == wanted and wanted[0] == "low" and set(wanted) == {"high", "low"}
