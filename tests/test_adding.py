"""The blocks of docs/adding.md, applied to a copy of the package as they are printed, do what the page says."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtp.config import CACHE

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
pytestmark = pytest.mark.slow


def apply(block: str, folder: Path) -> None:
    """Write a new file, or put lines behind or in front of the line that the block's first line quotes."""
    first, rest = block.split("\n", 1)
    if made := re.fullmatch(r"# new file: (.+)", first):
        path = folder / made[1]
        assert not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rest)
        return
    found = re.fullmatch(r"# in (\S+), (after|before): (.+)", first)
    assert found, first
    path, line = folder / found[1], found[3] + "\n"
    text = path.read_text()
    assert text.count(line) == 1, f"{path} must have the line once: {line}"
    gap = "\n\n" if rest.startswith("def ") else ""
    path.write_text(text.replace(line, line + rest if found[2] == "after" else rest + gap + line))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with everything that the page adds."""
    folder = tmp_path_factory.mktemp("copy")
    for name in (
        "mtp",
        "configs",
        "pyproject.toml",
        "tests/conftest.py",
        "tests/test_configs.py",
        "tests/models",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    for block in BLOCKS:
        apply(block, folder)
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)


def test_the_printed_tests_pass(copy):
    printed = re.findall(r"# new file: (tests/.+)", PAGE)
    assert len(printed) == 4
    there = "tests/models/test_backbones.py", "tests/test_configs.py"
    chosen = "-k", "toy or agree or mae or mean or lines"
    done = run(copy, "pytest", "-q", "-n0", "-p", "no:cacheprovider", *printed, *there, *chosen)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    lines = []
    for number in range(24):
        pixels = np.full((40 + number % 3, 64, 3), rng.integers(256), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(json.dumps({"image": f"{number}.png", "votes": rng.multinomial(9, [0.2] * 5).tolist()}))
    (folder / "votes.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("network", ["model.name=mean_colour", "model.backbone=toy"])
def test_what_was_added_trains_from_the_command_line(copy, photos, network, tmp_path):
    options = {
        "data.name": "jsonl", "data.dir": photos, "model.tasks": "distribution,agreement", "input.batch_size": 8,
        "input.sizes": "((32, 32),)", "eval.size": "warp=32", "run.compile_cache": CACHE / "xla-tests",
        "log.tensorboard": False,
    }  # fmt: skip
    given = [f"--config.{name}={value}" for name, value in options.items()]
    command = ["--config=configs/toy.py", f"--workdir={tmp_path}", *given, f"--config.{network}"]
    done = run(copy, "mtp.main", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "results.json").read_text())["rows"][0]["metrics"]
    assert 0 <= metrics["mae"]["low"] <= metrics["mae"]["value"] <= metrics["mae"]["high"]
    with (tmp_path / "predictions.csv").open() as file:
        assert all(0 <= float(row["pred_agreement"]) <= 1 for row in csv.DictReader(file))
