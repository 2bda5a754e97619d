"""What a run leaves to read: metrics.jsonl, TensorBoard events, progress on the terminal."""

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mtp import files

VALIDATION = "validation/"  # prefix of a validation's numbers


class LogError(ValueError):
    """A log that was begun cannot be continued; the message says which and what to do."""


class Writer:
    """Appends a line a record to metrics.jsonl in `workdir`, and the same numbers to TensorBoard."""

    def __init__(self, workdir: Path, tensorboard: bool):
        self._path = workdir / "metrics.jsonl"
        self._events = workdir / "tensorboard" if tensorboard else None
        self._board: _EventFile | None = None
        self._purge: int | None = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One record; a number that is not finite is stored as null. Errors: OSError."""
        numbers = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        with files.named(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | numbers) + "\n")
        if self._events:
            # opened as late as this: only a new event file can take earlier ones back
            with files.named(self._events):
                self._board = self._board or _EventFile(self._events, self._purge)
                self._board.write(step, {name: value for name, value in numbers.items() if value is not None})

    def truncate(self, step: int, *, validated: bool = False) -> None:
        """Before the first `write`: drop records after `step`, which will be written again.

        validated: whether the one of `step`'s validation stays.

        An unfinished last line goes too; TensorBoard is told to hide its events after `step`.
        Errors: LogError where the file is empty or a line of it is no record, as after a power cut.
        """
        self._purge = step + 1
        if not self._path.exists():
            return
        kept = "".join(
            line
            for number, line in _records(self._path)
            if number < step or (number == step and (validated or VALIDATION not in line))
        )
        if kept:
            files.write_text(self._path, kept)
        else:
            self._path.unlink()

    def close(self) -> None:
        if self._board and self._events:
            with files.named(self._events):
                self._board.close()


def _records(path: Path) -> Iterator[tuple[int, str]]:
    """(step, line) of each whole line."""
    mend = "remove the line, or move the file away to go on without the records so far"
    data = path.read_bytes()
    if not data:
        raise LogError(f"{path} is damaged (it is empty); delete it to go on without the records so far")
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            return
        try:
            step = int(json.loads(line)["step"])
        except (ValueError, TypeError, KeyError) as error:
            raise LogError(f"{path} is damaged (line {number} is no record); {mend}") from error
        yield step, line.decode()


class _EventFile:
    """A new file of TensorBoard's events, written at once.

    tensorboardX' own SummaryWriter writes in a thread, and waits for ever for one that a full disk has ended.
    """

    def __init__(self, folder: Path, purge_step: int | None):
        # not at the top: where torch is installed it imports it, more than a second of every start
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        proto: Any = event_pb2  # its classes are made when it is imported

        folder.mkdir(exist_ok=True)
        self._file, self._event, self._scalar = EventsWriter(str(folder / "events")), proto.Event, scalar
        if purge_step is not None:
            start = proto.SessionLog(status=proto.SessionLog.START)
            self._file.write_event(proto.Event(step=purge_step, file_version="brain.Event:2"))
            self._file.write_event(proto.Event(step=purge_step, session_log=start))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            event = self._event(step=step, wall_time=time.time(), summary=self._scalar(name, value))
            self._file.write_event(event)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def say(step: int, metrics: Mapping[str, float]) -> None:
    """A line that stays: the metrics of a validation."""
    if metrics:
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        tqdm.write(f"step {step}  validation  {numbers}")


class StepProgress:
    """A bar with loss, pictures/s and time left on a terminal; plain lines on stdout elsewhere.

    total, initial: steps of the run, and of them done before; batch_size: pictures a step; every_steps: steps
    between plain lines, of which the first comes at once.
    """

    def __init__(self, total: int, initial: int, batch_size: int, every_steps: int):
        self._batch_size, self._every = batch_size, every_steps
        self._terminal = sys.stderr.isatty()
        # elsewhere the bar is only a clock
        file = sys.stderr if self._terminal else _Silent()
        self._bar = tqdm(total=total, initial=initial, unit="step", desc="training", file=file)

    def update(self, step: int, *, loss: float, waited: float) -> None:
        """`step` steps are done; waited: seconds so far that steps spent waiting for data."""
        first = self._bar.n == self._bar.initial
        self._bar.update(step - self._bar.n)
        speed = self._steps_per_second()
        numbers = (
            f"loss {loss:.4f}, {speed * self._batch_size:.1f} pictures/s, waited for data {waited:.1f} s"
        )
        self._bar.set_postfix_str(numbers, refresh=False)
        if not self._terminal and (first or step % self._every == 0):
            left = tqdm.format_interval((self._bar.total - step) / speed) if speed else "?"
            print(f"step {step}/{self._bar.total}, {numbers}, {left} left", flush=True)

    def _steps_per_second(self) -> float:
        """A moving average; of the first moments the plain one."""
        state = self._bar.format_dict
        average = (state["n"] - state["initial"]) / state["elapsed"] if state["elapsed"] else 0.0
        return state["rate"] or average

    def resume(self) -> None:
        """After a pause for an evaluation or a save, which is no part of the training speed."""
        self._bar.unpause()

    def close(self) -> None:
        self._bar.close()


class _Silent:
    """A text file that keeps nothing."""

    def write(self, _: str) -> None: ...

    def flush(self) -> None: ...
