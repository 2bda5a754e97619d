"""Any of the tasks may be trained without the others, from the command line to the table."""

import json
import re
import shutil

import numpy as np
import pytest

from mtp.evaluation.metrics import METRICS
from mtp.runtime.checkpoint import Checkpoints
from tests import runs

pytestmark = pytest.mark.slow

# tasks -> what chooses the best checkpoint, whether a higher one is better, and the labels of the metrics in the table
SUBSETS = {
    ("two_category",): ("two_category_accuracy", True, {"truth", "high"}),
    ("style",): ("map", True, {"truth", "styles"}),
    ("distribution", "style"): ("emd_r2", False, {"histogram", "rating", "mean", "truth", "styles"}),
}
COLUMNS = {
    "distribution": lambda name: re.fullmatch(r"pred_\d|pred_mean|pred_std|share_above", name) is not None,
    "two_category": lambda name: name == "p_high",
    "style": lambda name: name.startswith("pred_style_"),
}


@pytest.fixture(scope="module", params=SUBSETS, ids="+".join)
def trained(request, tmp_path_factory):
    """(tasks, their command, its workdir, what it printed)."""
    folder = tmp_path_factory.mktemp("-".join(request.param))
    photos = runs.make_folder(folder / "photos", 40, 0)
    command = runs.train(folder / "run", photos, f"--config.model.tasks={','.join(request.param)}")
    return request.param, command, folder / "run", runs.run(command)


def validations(workdir, metric):
    """Step -> value."""
    records = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {r["step"]: r[f"validation/{metric}"] for r in records if f"validation/{metric}" in r}


def test_the_first_tasks_criterion_chooses_the_best_checkpoint(trained):
    tasks, _, workdir, _ = trained
    metric, higher, _ = SUBSETS[tasks]
    found = validations(workdir, metric)
    assert list(found) == [4, 8]
    best = (max if higher else min)(found.values())
    step = json.loads((workdir / "results.json").read_text())["step"]
    assert found[step] == best
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    assert checkpoints.best_step() == step
    checkpoints.close()


def test_cells_of_what_is_not_predicted_are_empty(trained):
    tasks, _, workdir, _ = trained
    rows = runs.read_csv(workdir / "predictions.csv")
    for task, belongs in COLUMNS.items():
        values = runs.numbers(rows, belongs)
        assert values.shape[0] == len(rows) == 5
        if task in tasks:
            assert values.shape[1] > 0 and not np.isnan(values).any(), task
        else:
            assert np.isnan(values).all(), task
    classes = {row["class"] for row in rows}
    assert classes <= {"high", "low"} if tasks != ("style",) else classes == {""}
    assert all(row["truth_mean"] and row["truth_style_Bright"] for row in rows)


def test_the_table_has_the_metrics_that_are_defined(trained):
    tasks, _, workdir, printed = trained
    content = json.loads((workdir / "results.json").read_text())
    cells = content["rows"][0]["metrics"]
    assert {name for name in cells if name in METRICS} == {
        name for name, metric in METRICS.items() if metric.label in SUBSETS[tasks][2]
    }
    references = ["uniform", "mean histogram", "vote noise"] if "distribution" in tasks else []
    assert [row["row"] for row in content["rows"]] == ["model", *references]
    page = (workdir / "results.md").read_text()
    for name, metric in METRICS.items():
        assert (f"- {metric.heading}: `" in page) == (name in cells)
    header, model = (re.search(rf"^{row} .*", printed, re.M) for row in ("row", "model"))
    assert header and model
    metric = METRICS[SUBSETS[tasks][0]]
    assert metric.heading in header.group() and f"{cells[metric.name]['value']:.3f}" in model.group()


def test_it_goes_on_and_is_evaluated_again(trained, tmp_path):
    """Without its last save and its results the run takes the last steps again, to the same bits."""
    _, command, workdir, printed = trained
    copy = shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "8")
    (copy / "results.json").unlink()
    again = runs.run([part.replace(f"--workdir={workdir}", f"--workdir={copy}") for part in command])
    assert "step 8/8" in again and "step 4/8" not in again
    assert (copy / "predictions.csv").read_bytes() == (workdir / "predictions.csv").read_bytes()
    table = re.search(r"^model .*", printed, re.M)
    assert table and table.group() in runs.run(runs.evaluate(copy))
    assert (copy / "predictions.csv").read_bytes() == (workdir / "predictions.csv").read_bytes()
