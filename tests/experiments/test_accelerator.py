"""The benchmarks for a card, as far as they are no measurement: what they compare, read, keep and refuse."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.bench import tpu_compile
from experiments.bench.accelerator import __main__ as accelerator
from experiments.bench.accelerator import exactness, runs
from experiments.bench.benchmark import Row

DOCS = Path(__file__).parents[2] / "docs" / "speed.md"


def test_the_docs_name_every_part():
    text = DOCS.read_text(encoding="utf-8")
    assert [part for part in accelerator.PARTS if f"`{part}`" not in text] == []


def test_what_parts_have_left_is_one_table(tmp_path):
    accelerator.kept("mobile", [Row("a step", "3 MP/s", measured="1.2")], tmp_path)
    accelerator.kept("exactness", [Row("a map", "1e-6", met=True)], tmp_path)
    accelerator.main(["--table", f"--out={tmp_path}"])
    page = (tmp_path / "accelerator.md").read_text()
    assert page.index("| a step | 3 MP/s |") < page.index("| a map | 1e-6 |")
    assert "- `mobile`: " in page and "- `exactness`: " in page and "jax " in page


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is a card")
def test_without_a_card_it_ends_in_a_line():
    with pytest.raises(SystemExit, match="error: jax sees no GPU or TPU here"):
        accelerator.main(["--part=mobile"])


def test_a_difference_is_the_worst_pictures_as_a_share_of_its_largest_value():
    expected = [{"map": np.array([4.0, -1.0])}, {"map": np.array([0.5, 0.25])}]
    found = [{"map": np.array([4.0, -1.2])}, {"map": np.array([0.5, 0.0])}]
    assert exactness.difference(found, expected, "map") == pytest.approx(0.5)


def test_gradients_are_apart_by_norms_of_the_whole_tree():
    expected = {"a": np.array([3.0]), "b": np.array([[4.0]])}
    assert exactness.apart({"a": np.array([3.0]), "b": np.array([[3.0]])}, expected) == pytest.approx(1 / 5)


def test_rates_leave_the_first_record_out(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"input": {"batch_size": 16}}))
    lines = [
        {"step": 10, "train/loss": 1.0, "train/waited_s": 5.0, "time/since_last_log_s": 60.0},
        {"step": 20, "validation/emd_r2": 0.1},
        {"step": 20, "train/loss": 1.0, "train/waited_s": 5.1, "time/since_last_log_s": 2.0},
        {"step": 30, "train/loss": 1.0, "train/waited_s": 5.2, "time/since_last_log_s": 2.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert runs.rate(tmp_path) == pytest.approx(16 * 20 / 4)
    assert runs.waited(tmp_path) == pytest.approx(100 * 0.2 / 4)


def test_a_compilation_that_ends_names_its_reason():
    lines = ["Traceback", "  x", "jax.errors.E: RESOURCE_EXHAUSTED: Used 20G of 15.75G hbm.", "at the end"]
    assert "Used 20G" in tpu_compile._reason("\n".join(lines))
    assert tpu_compile._reason("first\nlast\n") == "last"
    assert tpu_compile._reason("") == "it failed"
