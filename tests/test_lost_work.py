"""No work is lost and none is done twice: two starts, signals, full disks, damaged checkpoints, data that moved."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from mtp.commands.train import train
from mtp.config import configured, flat
from mtp.processes.signals import Stop
from mtp.runtime import step_folder
from mtp.training import loop
from mtp.training.loop import TrainingError
from tests import runs

pytestmark = pytest.mark.slow
LONG = ("--config.train.epochs=2000.0", "--config.train.eval_every_epochs=1000.0")
# as python -m tests.runs, but a validation never ends
VALIDATES_FOR_EVER = """
import sys, time
from mtp.training import loop
from tests import runs
def validate(*_):
    print("validating", flush=True)
    time.sleep(600)
loop.validate = validate
with runs.small_backbone():
    import runpy
    runpy.run_module("mtp.main", run_name="__main__", alter_sys=True)
"""


class Command:
    """A command that runs until it is told to end."""

    def __init__(self, arguments: list[str]):
        self.process = subprocess.Popen(
            arguments, cwd=runs.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()

    def wait_for(self, text: str) -> None:
        assert self.process.stdout is not None
        assert any(text in line for line in self.process.stdout), f"no line with {text}"

    def end(self, number: int) -> tuple[int, list[str], float]:
        """Status, lines on stderr and seconds after a signal."""
        start = time.monotonic()
        self.process.send_signal(number)
        said = self.process.communicate(timeout=60)[1].splitlines()
        return self.process.returncode, said, time.monotonic() - start


def saved(workdir: Path) -> list[int]:
    return step_folder.steps(workdir / "checkpoints")


@pytest.fixture
def copy(trained_small, tmp_path) -> Path:
    """A finished run to be changed."""
    return Path(shutil.copytree(trained_small[0], tmp_path / "run"))


def predictions(workdir: Path) -> bytes:
    return (workdir / "predictions.csv").read_bytes()


def test_a_second_start_is_told_who_trains_and_ctrl_c_saves_in_a_line(trained_small, tmp_path):
    workdir, photos = tmp_path / "run", trained_small[1]
    with Command(runs.train(workdir, photos, *LONG)) as first:
        # by then a checkpoint is there: step 3 is saved in the background, and the save of step 6 waits for it
        first.wait_for("step 7/")
        first.process.send_signal(signal.SIGSTOP)  # or its checkpoints would change every few milliseconds
        who = f"{workdir} is in use by process {first.process.pid} on "
        assert who in runs.error_line(runs.train(workdir, photos, *LONG))
        printed = runs.run(runs.evaluate(workdir))
        assert f"note: {who}" in printed and "; meanwhile the evaluation is written beside" in printed
        assert (workdir / "evaluations" / "photos-test" / "results.json").exists()
        assert not (workdir / "results.json").exists()
        first.process.send_signal(signal.SIGCONT)
        status, lines, _ = first.end(signal.SIGINT)
    (step,) = saved(workdir)[-1:]
    assert (status, lines) == (
        130,
        [f"stopped by SIGINT; the state of step {step} is saved. Run the same command to go on ({workdir})"],
    )
    assert step >= 7 and not (workdir / "LOCK").exists()


def test_sigterm_while_compiling_does_not_wait_for_it(trained_small, tmp_path):
    fresh = f"--config.run.compile_cache={tmp_path / 'cache'}"
    tiny = runs.train(tmp_path / "run", trained_small[1], "--config.model.backbone=mobile", fresh)
    with Command(tiny) as command:
        command.wait_for("programs to compile")
        time.sleep(2)
        status, lines, seconds = command.end(signal.SIGTERM)
    assert status == 143 and seconds < 5
    assert lines == [
        f"stopped by SIGTERM; nothing was saved yet. Run the same command to go on ({tmp_path / 'run'})"
    ]


def test_a_validation_that_was_ended_is_done_by_the_next_start(trained_small, tmp_path):
    whole, photos = trained_small
    arguments = runs.train(tmp_path / "run", photos)
    with Command([sys.executable, "-c", VALIDATES_FOR_EVER, *arguments[3:]]) as command:
        command.wait_for("validating")
        status, (line,), seconds = command.end(signal.SIGTERM)
    assert status == 143 and "the state of step 4 is saved" in line and seconds < 5
    assert saved(tmp_path / "run") == [3, 4]
    printed = runs.run(arguments)
    assert printed.index("step 4  validation") < printed.index("step 5/8")
    assert predictions(tmp_path / "run") == predictions(whole)
    assert saved(tmp_path / "run") == saved(whole)


def test_a_full_disk_ends_the_run_in_a_line_and_with_room_it_goes_on(trained_small, tmp_path):
    """A limit on the size of files stands for the disk."""
    whole, photos = trained_small
    arguments = runs.train(tmp_path / "run", photos)
    size = (whole / "checkpoints" / "8" / "training.bin").stat().st_size
    limit = f"trap '' XFSZ; ulimit -f {size // 1024 - 1}; exec \"$@\""
    said = runs.error_line(["bash", "-c", limit, "-", *arguments])
    assert (
        "step 3 could not be saved" in said and "File too large; make room, and run the same command" in said
    )
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    runs.run(arguments)
    assert predictions(tmp_path / "run") == predictions(whole)


def test_from_a_damaged_newest_checkpoint_the_one_before_goes_on_aloud(copy, trained_small):
    whole, photos = trained_small
    (copy / "results.json").unlink()
    os.truncate(copy / "checkpoints" / "8" / "training.bin", 1000)
    printed = runs.run(runs.train(copy, photos))
    assert f"warning: {copy}/checkpoints/8 is damaged: its training has 1000 bytes" in printed
    assert "the latest whole step is 6" in printed and "step 7/8" in printed
    assert saved(copy) == saved(whole) and (copy / "checkpoints" / "8.damaged").is_dir()
    assert predictions(copy) == predictions(whole)
    assert (copy / "metrics.jsonl").read_text().count('"train/loss"') == 8


def test_the_same_data_elsewhere_are_evaluated_and_others_are_refused_without_compiling(
    copy, trained_small, tmp_path, monkeypatch, capsys
):
    whole, photos = trained_small
    moved = shutil.copytree(photos, tmp_path / "moved")
    (moved / "votes.csv").rename(moved / "labels.csv")
    stored = json.loads((copy / "config.json").read_text())
    config = configured({**flat(stored), "data.dir": str(moved), "data.csv": "labels.csv"})
    monkeypatch.setattr(loop, "compile_ahead", lambda *_: pytest.fail("there is no step left"))
    with runs.small_backbone(), Stop(str) as stop:
        train(config, copy, stop, allow_overlap=False)
        assert "eval.size native, step 8" in capsys.readouterr().out
        assert predictions(copy) == predictions(whole)
        written = (copy / "config.json").read_bytes()
        assert str(moved).encode() in written
        (copy / "results.json").unlink()
        shutil.rmtree(copy / "checkpoints" / "8")  # steps are left now
        lines = (moved / "labels.csv").read_text().splitlines()
        (moved / "labels.csv").write_text("\n".join([*lines[:-1], lines[-1].replace(",", ",1", 1)]) + "\n")
        with pytest.raises(TrainingError, match="the SHA-256 of the votes and styles was"):
            train(config, copy, stop, allow_overlap=False)
        for path in moved.glob("*.png"):
            Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
        with pytest.raises(TrainingError, match="the SHA-256 of the training pictures' files was"):
            train(config, copy, stop, allow_overlap=False)
    assert (copy / "config.json").read_bytes() == written
    assert not (copy / "LOCK").exists()


def test_a_finished_runs_table_is_printed_without_writing(copy, trained_small):
    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [copy, *copy.rglob("*")]}

    before = state()
    spelt = Path(os.path.relpath(trained_small[1], runs.ROOT))
    assert "mean histogram" in runs.run(runs.train(copy, spelt, "--config.log.every_steps=7"))
    assert state() == before
