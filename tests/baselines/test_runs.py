"""Every baseline through the command line: trained, gone on with, evaluated, predicted, and errors in a line."""

import json
import re
import shutil

import numpy as np
import pytest

from tests import runs

pytestmark = pytest.mark.slow
SQUARES = ("--config.input.sizes=((40,40),)", "--config.input.batch_size=16", "--config.train.epochs=1.0")
NETWORKS = {
    "nima": ("--config.eval.size=warp=40",),
    "dma_net": (
        "--config.input.fit=crop", "--config.eval.size=crop=40", "--config.model.patches=2", "--config.model.bags=2",
        "--config.model.dense_hidden=8",
    ),
    "dcnn": (
        "--config.eval.size=warp=40", "--config.model.style_column=frozen", "--config.model.dense_hidden=8",
        "--config.optim.accumulate=2",
    ),
    "mna_cnn": (
        "--config.input.order=native", "--config.input.canvases=1", "--config.model.grids=2,1",
        "--config.model.dense_hidden=8", "--config.model.combine=scene",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return runs.make_folder(tmp_path_factory.mktemp("data") / "photos", 40, 0)


def command(workdir, photos, name, *options):
    return runs.train(
        workdir, photos, f"--config.model.name={name}", "--config.train.save_every_steps=1", *SQUARES,
        *NETWORKS[name], *options,
    )  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_it_trains_goes_on_is_evaluated_and_predicts(name, photos, tmp_path):
    workdir = tmp_path / "run"
    printed = runs.run(command(workdir, photos, name))
    found = re.search(r"(\d+) steps of 16 pictures", printed)
    assert found
    steps = int(found[1])
    rows = runs.read_csv(workdir / "predictions.csv")
    histograms = runs.numbers(rows, lambda column: re.fullmatch(r"pred_\d", column))
    assert len(rows) == 5 and np.isfinite(histograms).all()
    np.testing.assert_allclose(histograms.sum(1), 1, atol=1e-5)
    assert json.loads((workdir / "results.json").read_text())["rows"][0]["row"] == "model"
    # without its last save and its results it takes the last step again, to the same bits
    before = (workdir / "predictions.csv").read_bytes()
    shutil.rmtree(workdir / "checkpoints" / str(steps))
    (workdir / "results.json").unlink()
    again = runs.run(command(workdir, photos, name))
    assert f"step {steps}/{steps}" in again and "step 1/" not in again
    assert (workdir / "predictions.csv").read_bytes() == before
    table = re.search(r"^model .*", printed, re.M)
    assert table and table.group() in runs.run(runs.evaluate(workdir))
    assert (workdir / "predictions.csv").read_bytes() == before
    runs.run(runs.predict(workdir, photos))
    everything = runs.read_csv(workdir / "predictions" / "photos" / "predictions.csv")
    by_name = {row["image"]: row for row in everything}
    assert len(by_name) == 40
    for row in rows:
        assert float(by_name[row["image"]]["pred_mean"]) == pytest.approx(float(row["pred_mean"]), rel=1e-4)


def test_an_evaluation_may_look_at_more_bags(photos, tmp_path):
    workdir = tmp_path / "run"
    runs.run(command(workdir, photos, "dma_net"))
    runs.run([*runs.evaluate(workdir), "--config.model.bags=4"])
    two, four = (
        runs.numbers(runs.read_csv(path), lambda column: re.fullmatch(r"pred_\d", column))
        for path in (workdir / "predictions.csv", *workdir.glob("evaluations/*/predictions.csv"))
    )
    assert two.shape == four.shape and 1e-6 < np.abs(two - four).max() < 0.1


def test_last_layers_are_fitted_to_the_mean_features_of_bags(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    options = (
        "--config.train.method=features",
        "--config.model.dense_hidden=0",
        "--config.optim.ema_decay=0.0",
    )
    workdir = tmp_path / "run"
    printed = runs.run(command(workdir, photos, "dma_net", *options))
    assert "distribution: fitted to" in printed and "with 48 features" in printed
    rows = {row["row"]: row["metrics"] for row in json.loads((workdir / "results.json").read_text())["rows"]}
    assert rows["model"]["emd_r2"]["value"] < rows["mean histogram"]["emd_r2"]["value"]


def test_a_hidden_layer_cannot_be_fitted(photos, tmp_path):
    line = runs.error_line(command(tmp_path / "run", photos, "dma_net", "--config.train.method=features"))
    assert "needs logits that are linear in features of a picture" in line and "It is dma_net with" in line


def test_another_size_rule_is_refused_in_a_line(photos, tmp_path):
    line = runs.error_line(command(tmp_path / "run", photos, "dcnn", "--config.eval.size=native"))
    assert "model.name=dcnn looks at squares of side S: eval.size and eval.also_size must be" in line
