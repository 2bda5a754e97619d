"""End to end through the command line: train, evaluate, kill, resume, evaluate elsewhere, be told of mistakes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from mtp.evaluation import metrics, statistics
from mtp.evaluation.samples import Criteria
from tests import runs
from tests.runs import ROOT, make_folder, read_csv, run
from tests.runs import evaluate as evaluate_command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data") / "photos", 40, 0)


def command(workdir: Path, data: Path | None, *options: str) -> list[str]:
    """The command that trains the small network, with all that it leaves."""
    return runs.train(workdir, data, "--config.log.tensorboard=True", *options)


def run_until(arguments: list[str], pattern: str, signum: int) -> None:
    """Start, wait for a line, send the signal."""
    with subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as p:
        assert p.stdout is not None
        for line in p.stdout:
            if re.search(pattern, line):
                os.kill(p.pid, signum)
                break
        else:
            pytest.fail(f"no line {pattern}")
        p.stdout.read()


def checksum(workdir: Path) -> tuple[int, dict[str, str]]:
    """The last step saved, and SHA-256 of parameters, statistics, optimiser and counters there, and of the meta."""
    steps = [int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()]
    meta = json.loads((workdir / "checkpoints" / str(max(steps)) / "meta.json").read_text())
    assert set(meta["sha256"]) == {"model", "training", "meta"}
    return max(steps), meta["sha256"]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> tuple[Path, str]:
    """An uninterrupted run's workdir and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    return workdir, run(command(workdir, data))


def test_a_run_leaves_everything(finished):
    workdir, printed = finished
    for name in (
        "config.json",
        "metrics.jsonl",
        "results.json",
        "results.md",
        "predictions.csv",
        "checkpoints",
    ):
        assert (workdir / name).exists(), name
    assert list((workdir / "tensorboard").iterdir())
    assert "8 steps of 8 pictures on the plain path, 1 programs to compile" in printed
    assert "training warps aspect ratios" in printed
    for row in ("model", "uniform", "mean histogram", "vote noise"):
        assert re.search(rf"^{row} ", printed, re.M), printed
    assert str(workdir) in printed
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    trained = [r["step"] for r in records if "train/loss" in r]
    assert trained == list(range(1, len(trained) + 1))
    assert any("validation/emd_r2" in r for r in records)


def test_results_have_their_layout(finished):
    workdir, _ = finished
    found = json.loads((workdir / "results.json").read_text())
    assert set(found) >= {
        "split", "rows", "seed", "step", "mean_histogram", "bootstrap", "groups", "pkl_floor", "threshold", "delta",
        "eval_size", "config", "versions", "weights",
    }  # fmt: skip
    assert set(found["split"]) == {"name", "sha256", "pictures"}
    assert [row["row"] for row in found["rows"]] == ["model", "uniform", "mean histogram", "vote noise"]
    cells = found["rows"][0]["metrics"]
    assert set(cells) >= {*metrics.METRICS, "ap_Bright", "ap_Dark"}
    assert set(cells["emd_r2"]) == {"value", "low", "high", "n", "better"}
    assert found["rows"][1]["metrics"]["srcc"]["value"] is None


def test_every_metric_can_be_recomputed_from_predictions(finished):
    workdir, _ = finished
    found = json.loads((workdir / "results.json").read_text())["rows"][0]["metrics"]
    rows = runs.read_csv(workdir / "predictions.csv")
    assert [r["image"] for r in rows] == sorted(r["image"] for r in rows)
    truth, prediction = (
        np.array([[float(r[f"{s}_{k}"]) for k in range(1, 6)] for r in rows]) for s in ("truth", "pred")
    )
    for name, values in metrics.per_picture(truth, prediction, Criteria(3.0, 0.5, 1e-7)).items():
        assert values.mean() == pytest.approx(found[name]["value"], rel=1e-5), name
    ones = np.ones(len(rows))
    means = [np.array([float(r[f"{s}_mean"]) for r in rows]) for s in ("truth", "pred")]
    assert statistics.srcc(*means, ones) == pytest.approx(found["srcc"]["value"], rel=1e-6)
    high = np.array([float(r["p_high"]) > 0.5 for r in rows])
    assert np.mean(high == (means[0] > 3)) == pytest.approx(found["two_category_accuracy"]["value"])
    bright = [float(r["truth_style_Bright"]) for r in rows], [float(r["pred_style_Bright"]) for r in rows]
    precision = statistics.average_precision(*map(np.array, bright), ones)
    assert precision == pytest.approx(found["ap_Bright"]["value"])
    assert {r["class"] for r in rows} <= {"high", "low"}
    assert rows[0]["height"] in ("48", "51")


def test_a_finished_workdir_prints_its_table_without_training(finished, data):
    workdir, printed = finished
    before = checksum(workdir)
    again = run(command(workdir, data))
    assert "step" not in again.replace("eval.size native, step", "")
    assert re.search(r"^mean histogram .*", printed, re.M).group() in again
    assert checksum(workdir) == before


@pytest.mark.parametrize(
    "moment",
    [r"^step 2/", r"^step 4  validation", r"^step 7/"],
    ids=["before any save", "while saving", "later"],
)
def test_killed_at_any_moment_and_resumed_every_bit_is_the_same(moment, finished, data, tmp_path):
    whole, _ = finished
    run_until(command(tmp_path / "run", data), moment, signal.SIGKILL)
    assert not (tmp_path / "run" / "results.json").exists()
    run(command(tmp_path / "run", data))
    assert checksum(tmp_path / "run") == checksum(whole)
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    steps = [
        record["step"]
        for record in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
        if "train/loss" in record
    ]
    assert steps == sorted(set(steps))


def test_sigterm_saves_and_the_next_start_goes_on(finished, data, tmp_path):
    whole, _ = finished
    run_until(command(tmp_path / "run", data), r"^step 2/", signal.SIGTERM)
    step, _ = checksum(tmp_path / "run")
    assert 2 <= step < 8
    run(command(tmp_path / "run", data))
    assert checksum(tmp_path / "run") == checksum(whole)


def test_another_configuration_in_a_workdir_is_an_error_that_shows_the_difference(finished, data):
    said = run(command(finished[0], data, "--config.optim.trunk_rate=0.5"), fails=True)
    assert "optim.trunk_rate: there 0.001, now 0.5" in said
    assert "choose another --workdir" in said


def test_an_unknown_option_names_the_nearest(data, tmp_path):
    said = run(command(tmp_path / "run", data, "--config.optim.trunk_rat=0.5"), fails=True)
    assert "there is no option optim.trunk_rat; the nearest is optim.trunk_rate" in said


def test_evaluating_again_gives_the_same_table(finished):
    workdir, printed = finished
    before = (workdir / "predictions.csv").read_bytes()
    again = run(evaluate_command(workdir))
    assert re.search(r"^model .*", printed, re.M).group() in again
    assert (workdir / "predictions.csv").read_bytes() == before


def test_the_predictor_predicts_what_the_run_wrote(finished, tmp_path):
    workdir, _ = finished
    script = f"""
import sys
from pathlib import Path
import numpy as np
import mtp
from mtp.data.load import load
from mtp.evaluation import plan
from mtp.inference import columns
from mtp.runtime import settings
from tests.runs import small_backbone
workdir = Path({str(workdir)!r})
with small_backbone():
    predictor = mtp.Predictor.load(workdir)
settings.configure(predictor.config)
dataset = load(predictor.config.data)
found = predictor.predict(dataset, dataset.indices("test"), canvases=plan.canvases(predictor, dataset))
columns.write(Path({str(tmp_path / "again.csv")!r}), columns.predicted(dataset, found, predictor.facts))
assert not {{name for name in sys.modules if name.startswith("mtp.training")}}
"""
    run([sys.executable, "-c", script])
    written, again = (
        runs.read_csv(folder / name)
        for folder, name in ((workdir, "predictions.csv"), (tmp_path, "again.csv"))
    )
    shared = [name for name in written[0] if name in again[0]]
    assert len(shared) == len(again[0])
    assert [[row[name] for name in shared] for row in written] == [
        [row[name] for name in shared] for row in again
    ]


def test_another_split_is_written_beside(finished):
    workdir, _ = finished
    before = (workdir / "results.json").read_bytes()
    said = run(evaluate_command(workdir, "--config.eval.split=validation"))
    assert (workdir / "results.json").read_bytes() == before
    folder = workdir / "evaluations" / "photos-validation"
    assert f"results.md, results.json and predictions.csv lie in {folder}" in said


def test_evaluating_before_the_end_does_not_end_the_training(finished, data, tmp_path):
    whole, _ = finished
    run_until(command(tmp_path / "run", data), r"^step 6/", signal.SIGKILL)
    assert "training has not reached its end" in run(evaluate_command(tmp_path / "run"))
    run(command(tmp_path / "run", data))
    assert checksum(tmp_path / "run") == checksum(whole)
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


def test_other_files_under_the_same_names_are_noticed_on_resuming(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "photos")
    run_until(command(tmp_path / "run", folder), r"^step 6/", signal.SIGKILL)
    before = (tmp_path / "run" / "training_pictures.npy").read_bytes()
    for path in folder.glob("*.png"):
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    said = run(command(tmp_path / "run", folder), fails=True)
    assert "the SHA-256 of the training pictures' files was" in said
    assert (tmp_path / "run" / "training_pictures.npy").read_bytes() == before


def test_copies_of_training_pictures_in_the_test_split_are_told_before_training(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "photos")
    lines = (folder / "votes.csv").read_text().splitlines()
    rows = [f"{line},{'test' if number > 30 else 'train'}" for number, line in enumerate(lines[1:])]
    (folder / "votes.csv").write_text("\n".join([f"{lines[0]},split", *rows]) + "\n")
    shutil.copy(folder / "000.png", folder / "035.png")
    said = run(command(tmp_path / "run", folder), fails=True)
    assert "1 pictures of the split test of photos are among those trained on" in said


def test_evaluating_on_another_folder_without_styles(finished, tmp_path):
    other = make_folder(tmp_path / "other", 12, 1, styles=False)
    before = (finished[0] / "results.json").read_bytes()
    run(evaluate_command(finished[0], f"--config.data.dir={other}", "--config.eval.split=all"))
    folder = finished[0] / "evaluations" / "other-all"
    found = json.loads((folder / "results.json").read_text())
    assert found["split"]["pictures"] == 12
    assert (folder / "predictions.csv").exists()
    assert (finished[0] / "results.json").read_bytes() == before


def test_evaluating_on_another_rating_scale(finished, tmp_path):
    other = make_folder(tmp_path / "seven", 12, 1, k=7)
    printed = run(evaluate_command(finished[0], f"--config.data.dir={other}", "--config.eval.split=all"))
    assert "votes on 1..7, predictions on 1..5 (high above 3)" in printed
    assert "threshold 4, delta 0.666667" in printed
    folder = finished[0] / "evaluations" / "seven-all"
    (row,) = json.loads((folder / "results.json").read_text())["rows"]
    assert set(row["metrics"]) >= {"srcc", "plcc", "accuracy", "accuracy_delta", "two_category_accuracy"}
    assert not set(row["metrics"]) & {"emd_r2", "skill", "rmse"}
    lines = read_csv(folder / "predictions.csv")
    truth, mine = (np.array([float(line[f"{kind}_mean"]) for line in lines]) for kind in ("truth", "pred"))
    high = np.array([[line["truth_class"] == "high", line["class"] == "high"] for line in lines])
    assert (high == np.stack([truth > 4, mine > 3], 1)).all()
    assert row["metrics"]["srcc"]["value"] == pytest.approx(spearmanr(truth, mine)[0])
    assert row["metrics"]["accuracy"]["value"] == pytest.approx((high[:, 0] == high[:, 1]).mean())


def test_what_evaluation_refuses(finished, data, tmp_path):
    said = run(evaluate_command(finished[0], "--config.eval.split=train"), fails=True)
    assert "are among those trained on" in said
    said = run(evaluate_command(finished[0], "--config.optim.trunk_rate=1.0"), fails=True)
    assert "optim.trunk_rate belongs to the training" in said
    said = run(evaluate_command(tmp_path / "nothing"), fails=True)
    assert "must be a finished workdir" in said


def test_bad_data_is_an_error_without_a_traceback(tmp_path):
    folder = make_folder(tmp_path / "photos", 5, 0)
    (folder / "002.png").write_bytes(b"")
    said = run(command(tmp_path / "run", folder), fails=True)
    assert said.strip().splitlines()[-1].strip().startswith("002.png: the file is empty")
    assert "Traceback" not in said
