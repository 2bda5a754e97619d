"""What `local` shows: a table that is drawn again on a terminal, a line for each change elsewhere."""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from experiments.sweep import job as job_files
from experiments.sweep.plan import Job
from experiments.sweep.states import State
from mtp.report.tables import aligned

EVERY = 1.0  # seconds between two drawings
# a failed job is tried again
AT_START = {"failed": "waiting", "running": "elsewhere"}
SHOWN = ("done", "running", "elsewhere", "failed", "refused", "waiting")


class Progress:
    """Of all jobs. Time left is that of the jobs that are left, each as long as its row's took on average."""

    def __init__(self, found: Sequence[State], out: Path, file: TextIO = sys.stdout):
        self._states = {each.job: AT_START.get(each.state, each.state) for each in found}
        self._seconds = {each.job: float(each.result.about["seconds"]) for each in found if each.result}
        self._out, self._file, self._terminal = out, file, file.isatty()
        self._current: Job | None = None
        self._begun = self._drawn = time.monotonic()
        self._lines = 0

    def tell(self, job: Job, state: str, text: str = "") -> None:
        """A job has another state."""
        before, self._states[job] = self._states[job], state
        if state == "running":
            self._current, self._begun = job, time.monotonic()
        elif state == "done" and before == "running":
            self._seconds[job] = time.monotonic() - self._begun
        if self._terminal:
            self._draw()
        elif state not in ("running", before):
            self._say(job, state, text)

    def watch(self) -> None:
        """While a job runs: what it says of its steps, on a terminal."""
        if self._terminal and time.monotonic() - self._drawn > EVERY:
            self._draw()

    def estimate(self) -> str:
        """Jobs times minutes, as they were measured."""
        left = [job for job, state in self._states.items() if state not in ("done", "failed", "refused")]
        if not left:
            return "no job is left"
        jobs = f"{len(left)} {'job is' if len(left) == 1 else 'jobs are'} left"
        if not self._seconds:
            return f"{jobs}; how long one takes is known after the first"
        mean = sum(map(self._expected, left)) / len(left)
        return f"{jobs} x {_minutes(mean)} = {_minutes(mean * len(left))}, measured on {len(self._seconds)}"

    def _expected(self, job: Job) -> float:
        """Seconds: the mean of the row's jobs, else of all."""
        of_row = [seconds for each, seconds in self._seconds.items() if each.row == job.row]
        known = of_row or list(self._seconds.values())
        return sum(known) / len(known)

    def _say(self, job: Job, state: str, text: str) -> None:
        took = f" in {_minutes(self._seconds[job])}" if state == "done" and job in self._seconds else ""
        if state == "elsewhere":
            state = "runs elsewhere"
        print(
            f"{job.name}: {state}{took}{f' ({text})' if text else ''}; {self.estimate()}",
            file=self._file,
            flush=True,
        )

    def _draw(self) -> None:
        # a line that wraps would be two
        width = shutil.get_terminal_size().columns - 1
        lines = [line[:width] for line in (*self._table().splitlines(), self._now(), self.estimate())]
        # up to where the last one began; each line to its end
        up = f"\x1b[{self._lines}F" if self._lines else ""
        print(up + "".join(f"{line}\x1b[K\n" for line in lines), end="", file=self._file, flush=True)
        self._lines, self._drawn = len(lines), time.monotonic()

    def _table(self) -> str:
        rows: dict[str, Mapping[Job, str]] = {}
        for job in self._states:
            rows.setdefault(job.row, {each: s for each, s in self._states.items() if each.row == job.row})
        body = [[row, *_counts(states), self._rate(states)] for row, states in rows.items()]
        return aligned(["row", *SHOWN, "a job"], body)

    def _rate(self, states: Mapping[Job, str]) -> str:
        known = [self._seconds[job] for job in states if job in self._seconds]
        return _minutes(sum(known) / len(known)) if known else ""

    def _now(self) -> str:
        if self._current is None or self._states[self._current] != "running":
            return "waiting for jobs that run elsewhere" if "elsewhere" in self._states.values() else ""
        said = job_files.progress(self._current, self._out)
        since = _minutes(time.monotonic() - self._begun)
        return f"{self._current.name}, for {since}{f': {said}' if said else ''}"


def _counts(states: Mapping[Job, str]) -> list[str]:
    return [str(sum(state == name for state in states.values()) or "") for name in SHOWN]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 6 else f"{seconds:.1f} s"
