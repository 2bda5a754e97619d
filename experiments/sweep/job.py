"""One job: its command in its workdir, alone, to the end; what becomes of it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from experiments.sweep import collected, folder
from experiments.sweep.plan import Job, SweepError
from mtp.files import DamagedFileError, read_json, write_json
from mtp.processes import lock
from mtp.processes.lock import LockError
from mtp.processes.signals import Stop

PROGRAM = (sys.executable, "-m", "mtp.main")
ASK = 0.2  # seconds between two looks at a job that runs
TAIL = 20_000  # bytes of a log in which the last line is looked for
ERROR = re.compile(r"error: (.*)")
STEP = re.compile(r"step \d+/\d+.*")


class Outcome(NamedTuple):
    """state: done, failed, or running where another process has it; text: why, or who."""

    state: str
    text: str = ""


def command(job: Job, out: Path, program: Sequence[str] = PROGRAM) -> list[str]:
    """The training's."""
    return [*program, *job.arguments, f"--workdir={folder.workdir(out, job)}"]


def held_by(job: Job, out: Path) -> str | None:
    """Which living process runs a job, in words."""
    workdir = folder.workdir(out, job)
    return lock.holder(workdir / lock.NAME) or lock.holder(folder.beside(workdir, ".lock"))


def failure(job: Job, out: Path) -> str | None:
    """Why the job's last run failed, where it did. Errors: DamagedFileError."""
    found = read_json(_record(job, out), "delete it")
    return None if found is None else found["failed"]


def _record(job: Job, out: Path) -> Path:
    return folder.beside(folder.workdir(out, job), ".json")


def log(job: Job, out: Path) -> Path:
    """What the job's command printed, every run behind the last."""
    return folder.beside(folder.workdir(out, job), ".log")


class Runner:
    """Runs jobs one at a time, in the main thread; a signal is passed on, and the job saves.

    watch: called while a job runs, some times a second.
    """

    def __init__(
        self,
        out: Path,
        stop: Stop,
        program: Sequence[str] = PROGRAM,
        watch: Callable[[], None] = lambda: None,
    ):
        self._out, self._stop, self._program, self._watch = out, stop, program, watch
        self._process: subprocess.Popen[bytes] | None = None
        self._name = ""

    def run(self, job: Job) -> Outcome:
        """To its end, unless it is done, or another process has it."""
        workdir = folder.workdir(self._out, job)
        workdir.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as locks:
            try:
                locks.enter_context(lock.alone(folder.beside(workdir, ".lock")))
            except LockError:
                return Outcome("running", held_by(job, self._out) or "another process")
            if collected.exists(job, self._out):
                return Outcome("done")
            # one whose `local` has ended may be about to save
            if holder := lock.holder(workdir / lock.NAME):
                return Outcome("running", holder)
            return self._run(job)

    def _run(self, job: Job) -> Outcome:
        begun, path = time.monotonic(), log(job, self._out)
        before = path.stat().st_size if path.exists() else 0
        self._name = job.name
        with path.open("ab") as output, self._started(job, output) as self._process:
            while self._process.poll() is None:
                self._watch()
                time.sleep(ASK)
            status = self._process.returncode
        with self._stop.held():
            outcome = self._settled(job, status, before, time.monotonic() - begun)
        if self._stop.received:
            self._stop.end()
        return outcome

    def _started(self, job: Job, output) -> subprocess.Popen[bytes]:
        tied = [sys.executable, "-m", "experiments.sweep.tied", str(os.getpid())]
        return subprocess.Popen(
            [*tied, *command(job, self._out, self._program)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            process_group=0,  # a terminal's Ctrl-C is ours to pass on, once
        )  # fmt: skip

    def _settled(self, job: Job, status: int, before: int, seconds: float) -> Outcome:
        if status == 0:
            try:
                collected.collect(job, self._out, seconds)
            except (SweepError, DamagedFileError) as error:
                return self._failed(job, str(error))
            _record(job, self._out).unlink(missing_ok=True)
            return Outcome("done")
        if holder := lock.holder(folder.workdir(self._out, job) / lock.NAME):
            return Outcome("running", holder)  # it was refused, since another one was there first
        return self._failed(job, f"{_ended_by(status)}{_reason(log(job, self._out), before)}")

    def _failed(self, job: Job, reason: str) -> Outcome:
        write_json(_record(job, self._out), {"failed": reason})
        return Outcome("failed", reason)

    def end(self) -> str:
        """For `Stop`: end the running job by SIGTERM, wait until it has saved, and say so."""
        process = self._process
        if process is None or process.poll() is not None:
            return "no job was running. Run the same command to go on"
        process.terminate()
        process.wait()
        return f"{self._name} has been stopped, too. Run the same command to go on"


def _ended_by(status: int) -> str:
    """A signal by its name; a shell's and Python's number of it differ."""
    number = -status if status < 0 else status - 128
    with suppress(ValueError):
        return f"ended by {signal.Signals(number).name}; "
    return ""


def _reason(path: Path, before: int) -> str:
    """The last error that a run printed, else its last line; before: bytes that were there before it."""
    with path.open("rb") as file:
        file.seek(before)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [found[1] for line in lines if (found := ERROR.match(line))]
    return (errors or lines or ["it printed nothing"])[-1]


def progress(job: Job, out: Path) -> str:
    """The last thing that a running job said of its steps: step, rate and time left; nothing where it has no steps."""
    with suppress(FileNotFoundError), log(job, out).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        found = STEP.findall(file.read().decode(errors="replace"))
        return found[-1].strip() if found else ""
    return ""
