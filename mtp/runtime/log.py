"""What a run leaves to read: metrics.jsonl, TensorBoard events, progress on the terminal."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mtp import files


class Writer:
    """Appends a line a record to metrics.jsonl in `workdir`, and the same numbers to TensorBoard."""

    def __init__(self, workdir: Path, tensorboard: bool):
        self._path = workdir / "metrics.jsonl"
        self._events = workdir / "tensorboard" if tensorboard else None
        self._board: Any = None
        self._purge: int | None = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One record; a number that is not finite is stored as null."""
        numbers = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step} | numbers) + "\n")
        if self._events:
            # opened as late as this: only a new event file can take earlier ones back
            self._board = self._board or _event_file(self._events, self._purge)
            for name, value in numbers.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)

    def truncate(self, step: int) -> None:
        """Before the first `write`: drop records after `step`, which will be written again.

        An unfinished last line goes too; TensorBoard is told to hide its events after `step`.
        """
        self._purge = step + 1
        if not self._path.exists():
            return
        lines = self._path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        files.write_text(self._path, "".join(kept))

    def close(self) -> None:
        if self._board:
            self._board.close()


def _event_file(folder: Path, purge_step: int | None) -> Any:
    # not at the top: where torch is installed it imports it, more than a second of every start
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=purge_step)


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

    def say(self, step: int, metrics: Mapping[str, float]) -> None:
        """A line that stays: the metrics of an evaluation."""
        if metrics:
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            tqdm.write(f"step {step}  validation  {numbers}")

    def resume(self) -> None:
        """After a pause for an evaluation or a save, which is no part of the training speed."""
        self._bar.unpause()

    def close(self) -> None:
        self._bar.close()


class _Silent:
    """A text file that keeps nothing."""

    def write(self, _: str) -> None: ...

    def flush(self) -> None: ...
