"""The page of options is current, and the command tells every error at once, before anything else."""

import subprocess
import sys
from pathlib import Path

from mtp.config import get_config, page
from mtp.options import known

ROOT = Path(__file__).parents[1]


def test_the_page_is_current():
    text = (ROOT / "docs" / "options.md").read_text()
    assert text == page.markdown(known()), "run python -m mtp.options > docs/options.md"


def test_the_page_has_a_row_of_seven_cells_for_each_option():
    rows = [
        line
        for line in page.markdown(known()).splitlines()
        if line.startswith("| `") and "--mode" not in line
    ]
    assert len(rows) == 104
    assert all(row.replace(r"\|", "").count("|") == 8 for row in rows)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mtp.main", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_training_with_wrong_options_ends_before_it_begins(tmp_path):
    done = run(
        "--config=configs/votes.py", f"--workdir={tmp_path / 'run'}", "--config.data.dir=nowhere",
        "--config.optim.ema_decay=2", "--config.model.dtype", "fp32", "--config.optim.trunk_rat=1",
        "--config.data.folds=five", "--config.input.order=native", "--config.input.quarter_turns",
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == "" and not (tmp_path / "run").exists()
    assert done.stderr.splitlines() == [
        "error: 5 errors in the options:",
        "  there is no option optim.trunk_rat; the nearest is optim.trunk_rate",
        "  data.folds must be an integer of at least 0, not 'five'",
        "  model.dtype must be one of float32, bfloat16, not 'fp32'; the nearest is float32",
        "  optim.ema_decay must be a number from 0 to below 1, not 2.0",
        "  input.quarter_turns needs warped buckets; it cannot go with input.order=native",
    ]


def test_an_evaluation_with_wrong_options_ends_before_it_begins(tmp_path):
    config = get_config()
    config.data.dir, config.loss.delta = "nowhere", 0
    (tmp_path / "config.json").write_text(config.to_json())
    done = run(
        "--mode=evaluate", f"--workdir={tmp_path}", "--config.optim.trunk_rate=1", "--config.eval.split=tset",
        "--config.eval.bootstraps=3",
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: 3 errors in the options:",
        "  optim.trunk_rate belongs to the training; --mode=evaluate takes options of the data and the evaluation only",
        "  there is no option eval.bootstraps; the nearest is eval.bootstrap",
        "  eval.split must be one of train, validation, test, all, not 'tset'; the nearest is test",
    ]


def test_an_option_without_effect_is_noted(tmp_path):
    done = run(
        "--config=configs/votes.py", f"--workdir={tmp_path / 'run'}", f"--config.data.dir={tmp_path}",
        "--config.loss.emd_r=1", "--config.loss.emd_squared",
    )  # fmt: skip
    assert (
        done.stdout
        == "note: loss.emd_squared has no effect: with loss.emd_r=1 there is neither square nor root\n"
    )
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "votes.csv" in done.stderr
