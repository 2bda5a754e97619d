"""Sweeps of real trainings: what is killed at any moment goes on to the same tables, byte for byte."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from experiments.sweep import plan, read, states, table
from tests import runs

pytestmark = pytest.mark.slow
# as python -m experiments.sweep, with the small backbone
DRIVE = """
import sys
from experiments.sweep import __main__ as command_line
from mtp.processes import ending
from tests import runs
programs = command_line.Programs((sys.executable, "-m", "tests.runs"))
with runs.small_backbone():
    ending.run(lambda: command_line.main(sys.argv[1:], programs))
"""
FILE = """
from experiments.sweep import Row, Sweep
def get_sweep():
    return Sweep(
        {{"one": "configs/votes_scratch.py", "two": Row("configs/votes_scratch.py", {{"optim.heads_rate": 0.01}})}},
        seeds=(0, 1), options={options!r}, compared_with="two",
    )
"""
KILLS = 5


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> tuple[Path, Path]:
    """(the sweep's file, the pictures)."""
    folder = tmp_path_factory.mktemp("sweep")
    options = {
        **runs.OPTIONS, "model.backbone": "small", "log.tensorboard": False, "input.sizes": ((48, 64),),
        "run.compile_cache": str(runs.OPTIONS["run.compile_cache"]),
    }  # fmt: skip
    (folder / "sweep.py").write_text(FILE.format(options=options))
    return folder / "sweep.py", runs.make_folder(folder / "photos", 40, 0, styles=False)


def command(word: str, file: tuple[Path, Path], out: Path) -> list[str]:
    return [sys.executable, "-c", DRIVE, word, str(file[0]), f"--out={out}", f"--config.data.dir={file[1]}"]


def tables(file: tuple[Path, Path], out: Path) -> tuple[bytes, bytes]:
    runs.run(command("table", file, out))
    return (out / "table.md").read_bytes(), (out / "table.csv").read_bytes()


@pytest.fixture(scope="module")
def whole(file, tmp_path_factory) -> tuple[Path, float]:
    """The folder of a sweep that nothing disturbed, and the seconds that it took."""
    out, begun = tmp_path_factory.mktemp("whole") / "out", time.monotonic()
    assert "all 4 jobs are done" in runs.run(command("local", file, out))
    return out, time.monotonic() - begun


def job_process(out: Path) -> int | None:
    """Of the training that runs."""
    for path in out.glob("jobs/*/*/LOCK"):
        with suppress(FileNotFoundError, ValueError):
            return int(json.loads(path.read_bytes())["pid"])
    return None


def test_killed_at_any_moment_it_goes_on_to_the_same_tables(file, whole, tmp_path):
    out, (undisturbed, seconds) = tmp_path / "out", whole
    moments = random.Random(0)
    for number in range(KILLS):
        with subprocess.Popen(
            command("local", file, out), cwd=runs.ROOT, stdout=subprocess.DEVNULL
        ) as process:
            # starting takes some seconds, a job a quarter of the whole
            time.sleep(moments.uniform(2, seconds / 2))
            job = job_process(out) if number % 2 else None
            if job is not None:
                with suppress(ProcessLookupError):
                    os.kill(job, signal.SIGKILL)
                time.sleep(moments.uniform(0, 2))
            process.kill()
    assert "all 4 jobs are done" in runs.run(command("local", file, out))
    assert tables(file, out) == tables(file, undisturbed)
    shutil.copytree(out / "results", tmp_path / "copied" / "results")
    assert tables(file, tmp_path / "copied") == tables(file, undisturbed)


def test_a_table_of_one_seed_is_that_of_its_run(file, whole):
    out, _ = whole
    sweep = read.read(str(file[0]))._replace(seeds=(0,))
    jobs = plan.jobs(sweep, {"data.dir": str(file[1])})
    with runs.small_backbone():
        configs = read.configurations(jobs)
    found = {row["row"]: row for row in table.build("FILE", sweep, states.states(jobs, configs, out))["rows"]}
    for name in ("one", "two"):
        results = json.loads((out / "jobs" / name / "seed0" / "results.json").read_text())
        for row in results["rows"]:
            here = found[name if row["row"] == "model" else row["row"]]["metrics"]
            for metric, cell in row["metrics"].items():
                for part in ("value", "low", "high", "n"):
                    ours, theirs = here[metric][part], cell[part]
                    assert (ours is None) == (theirs is None), (row["row"], metric, part)
                    assert theirs is None or ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
