"""From a download to the table: real ids of AVA's own rows with made pictures, through the command line.

Training has the small backbone of `tests.runs`.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtp.config import CACHE
from mtp.data.ava import files as ava_files

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow

SMALL = {
    "model.backbone": "small", "model.weights": "", "model.fcn_hidden": 16, "input.sizes": "((48,64),)",
    "input.batch_size": 16, "train.epochs": 0.1, "eval.size": "native", "eval.canvases": 1, "eval.bootstrap": 20,
    "log.every_steps": 1, "run.compile_cache": CACHE / "xla-tests",
}  # fmt: skip


def run(*arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


def train(data_dir: Path, workdir: Path, *options: str) -> str:
    small = [f"--config.{name}={value}" for name, value in SMALL.items()]
    folders = f"--config.data.dir={data_dir}", f"--workdir={workdir}"
    return run("tests.runs", "--config=configs/ava.py", *folders, *small, *options)


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory) -> tuple[Path, list[int]]:
    """AVA's own lists and the rows of 1,200 real ids with noise for pictures; the broken ids among them cut short."""
    source = shutil.copytree(shared_data / "ava", tmp_path_factory.mktemp("real") / "source")
    for folder, _, _ in os.walk(source):
        os.chmod(folder, 0o755)
    lines = {int(line.split()[1]): line for line in (source / "AVA_part.txt").read_text().splitlines()}
    package = ava_files.read_package(source)
    styled = np.concatenate([package.styles.train_ids, package.styles.test_ids]) if package.styles else []
    wanted = [*package.lists["generic_test"].tolist(), *np.asarray(styled).tolist()]
    # every fourth of the listed ids that have a row, then the others
    ids = list(dict.fromkeys([key for key in wanted if key in lines][::4] + list(lines)))[:1193]
    # the published broken ids are not among the rows at hand: rows of other ids stand in for theirs
    rows = [lines[key] for key in ids]
    chosen = set(ids)
    spare = [line for key, line in lines.items() if key not in chosen]
    for key, line in zip(ava_files.KNOWN_BROKEN, spare, strict=False):
        cells = line.split()
        rows.append(" ".join([cells[0], str(key), *cells[2:]]))
    (source / "AVA.txt").write_text("\n".join(rows) + "\n")
    (source / "AVA_part.txt").unlink()
    images = source / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for key in [*ids, *ava_files.KNOWN_BROKEN]:
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(images / f"{key}.jpg")
    for key in ava_files.KNOWN_BROKEN:
        path = images / f"{key}.jpg"
        path.write_bytes(path.read_bytes()[:700])
    return source, ids


def test_from_the_download_to_the_table(real, tmp_path):
    source, ids = real
    data_dir = tmp_path / "data"
    said = run("mtp.data.ava", f"--source={source}", f"--data_dir={data_dir}", "--max_skipped=0.01")
    assert "1193 pictures of 1200 rows of votes" in said
    assert f"unusable pictures: {', '.join(map(str, sorted(ava_files.KNOWN_BROKEN)))}" in said
    workdir = tmp_path / "run"
    printed = train(data_dir, workdir)
    assert "of the 20,000 ids of generic_test.jpgl have no row of votes" in printed
    results = json.loads((workdir / "results.json").read_text())
    test = ava_files.read_package(source).lists["generic_test"].tolist()
    expected = {str(key) for key in ids if key in set(test)}
    with (workdir / "predictions.csv").open() as file:
        predictions = list(csv.DictReader(file))
    assert {row["image"] for row in predictions} == expected
    assert results["split"]["pictures"] == len(expected)
    by_category = {row["row"]: row["pictures"] for row in results["rows"] if "pictures" in row}
    assert set(by_category) == {f"model | {name}" for name in ava_files.CATEGORIES}
    assert sum(by_category.values()) == len(expected)
    for name in ava_files.CATEGORIES:
        assert re.search(rf"^model \| {name} \(\d+\) ", printed, re.M)
    assert all(row["category"] in ava_files.CATEGORIES and row["challenge"] for row in predictions)
    assert {row["row"] for row in results["styles"]} >= {"split", "all style-test pictures"}
    assert json.loads((workdir / "config.json").read_text())["data"]["split"] == "official"


@pytest.fixture(scope="module")
def finished(make_ava, tmp_path_factory) -> tuple[Path, Path, str]:
    """Data and workdir of a run on a made-up download."""
    folder = tmp_path_factory.mktemp("made")
    download = make_ava(folder / "download", 80)
    run("mtp.data.ava", f"--source={download}", f"--data_dir={folder / 'data'}")
    return folder / "data", folder / "run", train(folder / "data", folder / "run")


def test_style_labels_train_and_are_tested_apart(finished):
    _, workdir, printed = finished
    results = json.loads((workdir / "results.json").read_text())
    found = {row["row"]: (row["pictures"], row["trained_on"]) for row in results["styles"]}
    assert found["split"] == (1, 0) and found["all style-test pictures"][0] == 3
    assert "14 styles" in printed
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert any(np.isfinite(r.get("train/loss_style", np.nan)) for r in records)
    assert "train/loss_style" in records[0]


def test_the_fitted_reliability_lies_with_the_checkpoint(finished):
    _, workdir, _ = finished
    meta = next((workdir / "checkpoints").glob("*/meta.json"))
    fitted = json.loads(meta.read_text())["facts"]["reliability"]
    assert fitted["kind"] == "variance" and fitted["median"] > 0


def test_means_alone_train_and_nothing_is_said_of_histograms(make_ava, tmp_path):
    download = make_ava(tmp_path / "download", 80)
    rows = [line.split() for line in (download / "AVA.txt").read_text().splitlines()]
    scores = {row[1]: float(np.average(range(1, 11), weights=[int(n) for n in row[2:12]])) for row in rows}
    means = tmp_path / "test_ava.json"
    means.write_text(
        json.dumps([{"image": f"{key}.jpg", "gt_score": score} for key, score in scores.items()])
    )
    build = ["mtp.data.ava", f"--source={download}", f"--data_dir={tmp_path / 'data'}", f"--labels={means}"]
    assert "--means_only" in run(*build, fails=True)
    run(*build, "--means_only")
    refused = ["mtp.main", "--config=configs/ava.py", f"--config.data.dir={tmp_path / 'data'}"]
    said = run(*refused, "--config.model.weights=", f"--workdir={tmp_path / 'no'}", fails=True)
    assert "set loss.target=mean and loss.reliability=none" in said
    train(tmp_path / "data", tmp_path / "run", "--config.loss.target=mean", "--config.loss.reliability=none")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [row["row"] for row in results["rows"]][:3] == ["model", "uniform", "mean histogram"]
    cells = results["rows"][0]["metrics"]
    assert cells["emd_r2"]["value"] is None and cells["skill"]["value"] is None
    assert np.isfinite([cells[name]["value"] for name in ("srcc", "plcc", "rmse", "accuracy")]).all()
    with (tmp_path / "run" / "predictions.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["truth_3"] + line["votes"] + line["truth_std"] for line in lines} == {""}
    assert all(abs(float(line["truth_mean"]) - scores[line["image"]]) < 1e-4 for line in lines)


def test_evaluating_under_a_split_that_was_trained_on_is_refused_with_the_count(finished):
    data_dir, workdir, _ = finished
    evaluate = ["tests.runs", "--mode=evaluate", f"--workdir={workdir}"]
    said = run(*evaluate, f"--config.data.dir={data_dir}", "--config.data.split=random", fails=True)
    count = re.search(r"error: (\d+) pictures of the split test of ava are among those trained on", said)
    assert count and int(count[1]) > 0


def test_mistakes_are_told_without_a_traceback(finished, tmp_path):
    data_dir, _, _ = finished
    command = ["mtp.main", "--config=configs/ava.py"]
    for options, message in (
        ([], "data.dir must name the --data_dir"),
        ([f"--config.data.dir={tmp_path}"], "holds none. Build it with"),
        (
            [f"--config.data.dir={data_dir}", "--config.data.split=offical"],
            "the nearest is official",
        ),
        (
            [f"--config.data.dir={data_dir}", "--config.eval.by=theme"],
            "eval.by must be a metadata column of ava",
        ),
    ):
        said = run(*command, f"--workdir={tmp_path / message}", *options, fails=True)
        assert message in said and "Traceback" not in said
