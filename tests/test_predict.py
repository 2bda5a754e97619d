"""--mode=predict: pictures without votes, from the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workdir(trained_small, tmp_path_factory):
    """A finished run that only this file's tests change."""
    return Path(shutil.copytree(trained_small[0], tmp_path_factory.mktemp("predict") / "run"))


@pytest.fixture(scope="module")
def album(trained_small, tmp_path_factory):
    """The test pictures of a run in two folders, beside a file that is none and hidden ones."""
    workdir, photos = trained_small
    folder = tmp_path_factory.mktemp("album") / "holidays"
    (folder / "more" / ".thumbs").mkdir(parents=True)
    for number, row in enumerate(runs.read_csv(workdir / "predictions.csv")):
        shutil.copy(photos / row["image"], folder / ("more" if number % 2 else "") / row["image"])
        shutil.copy(photos / row["image"], folder / "more" / ".thumbs")
    shutil.copy(photos / "000.png", folder / ".hidden.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


@pytest.fixture(scope="module")
def predicted(workdir, album):
    """(what the command prints, the lines of its predictions.csv)."""
    printed = runs.run(runs.predict(workdir, album))
    return printed, runs.read_csv(workdir / "predictions" / "holidays" / "predictions.csv")


def test_a_line_a_picture_with_the_numbers_of_an_evaluation(workdir, predicted):
    printed, rows = predicted
    assert "note: left out: broken.jpg: this is not a picture in a known format" in printed
    assert f"5 pictures; predictions.csv lies in {workdir / 'predictions' / 'holidays'}" in printed
    evaluated = runs.read_csv(workdir / "predictions.csv")
    assert list(rows[0]) == [
        "image", *(f"pred_{k}" for k in range(1, 6)), "pred_mean", "pred_std", "share_above", "p_high", "class",
        "height", "width", "pred_style_Bright", "pred_style_Dark",
    ]  # fmt: skip
    assert [row["image"] for row in rows] == sorted(row["image"] for row in rows)
    known = {row["image"]: row for row in evaluated}
    assert {row["image"].removeprefix("more/") for row in rows} == set(known)
    for row in rows:
        there = known[row["image"].removeprefix("more/")]
        for name in rows[0]:
            if name in ("class", "height", "width"):
                assert row[name] == there[name]
            elif name != "image":
                assert float(row[name]) == pytest.approx(float(there[name]), rel=1e-5), name


def test_the_evaluations_options_hold(workdir, album, predicted):
    """Pictures of one shape, at another size: other numbers, the pictures' own sizes beside them."""
    _, native = predicted
    runs.run(runs.predict(workdir, album, "--config.eval.size=long=40", "--config.eval.canvases=3"))
    small = runs.read_csv(workdir / "predictions" / "holidays" / "predictions.csv")
    assert [row["height"] for row in small] == [row["height"] for row in native]
    shares = [runs.numbers(rows, lambda name: name.startswith("pred_style_")) for rows in (native, small)]
    assert np.abs(shares[0] - shares[1]).max() > 1e-4


@pytest.mark.usefixtures("predicted")
def test_nothing_else_of_the_workdir_changes(workdir):
    assert json.loads((workdir / "config.json").read_text())["eval"]["size"] == "native"
    assert {path.name for path in workdir.iterdir()} == {
        "checkpoints", "config.json", "metrics.jsonl", "predictions", "predictions.csv", "results.json", "results.md",
        "training_pictures.npy",
    }  # fmt: skip


def test_errors_are_a_line(workdir, album, tmp_path):
    for arguments, said in (
        (runs.predict(workdir, tmp_path / "nowhere"), "there is no folder"),
        (runs.predict(workdir, tmp_path), "must hold at least one picture that can be read; it has none"),
        (runs.predict(workdir, None), "--images=FOLDER goes with --mode=predict, and that needs it"),
        (runs.evaluate(workdir, f"--images={album}"), "--images=FOLDER goes with --mode=predict"),
        (runs.predict(tmp_path / "run", album), "must be a finished workdir; it has no config.json"),
        (runs.predict(workdir, album, "--config.seed=1"), "seed belongs to the training"),
    ):
        assert said in runs.error_line(arguments)
