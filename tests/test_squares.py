"""Pictures warped to a square in training and evaluation, by configuration alone."""

import json

import numpy as np
import pytest
from PIL import Image

from mtp.data.pictures import of_arrays
from mtp.inference.predictor import Predictor
from tests import runs

pytestmark = pytest.mark.slow


def test_a_run_of_warped_pictures(tmp_path):
    photos = runs.make_folder(tmp_path / "photos", 40, 0)
    workdir = tmp_path / "run"
    printed = runs.run(
        runs.train(workdir, photos, "--config.input.sizes=((96, 96),)", "--config.eval.size=warp=96")
    )
    assert "1 programs to compile" in printed and "eval.size warp=96, step" in printed
    content = json.loads((workdir / "results.json").read_text())
    assert content["eval_size"] == content["config"]["eval"]["size"] == "warp=96"
    rows = runs.read_csv(workdir / "predictions.csv")
    # the pictures' own sizes
    assert {(row["height"], row["width"]) for row in rows} <= {("48", "64"), ("51", "60")}
    with runs.small_backbone():
        predictor = Predictor.load(workdir)
    warped = of_arrays([
        np.asarray(Image.open(photos / row["image"]).resize((96, 96), Image.Resampling.BILINEAR)) for row in rows
    ])  # fmt: skip
    found = predictor.predict(warped, rule="native")
    written = runs.numbers(rows, lambda name: name[:5] == "pred_" and name[5:].isdigit())
    np.testing.assert_allclose(found.distribution, written, rtol=1e-4)
    again = runs.run(runs.evaluate(workdir, "--config.eval.size=pad=96"))
    assert "eval.size pad=96, step" in again
    padded = runs.read_csv(workdir / "evaluations" / "photos-test" / "predictions.csv")
    assert [row["image"] for row in padded] == [row["image"] for row in rows]
    other = runs.numbers(padded, lambda name: name[:5] == "pred_" and name[5:].isdigit())
    assert np.abs(other - written).max() > 1e-4
