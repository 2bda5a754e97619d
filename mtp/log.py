"""What a run leaves to read: metrics.jsonl, TensorBoard events, progress on the terminal."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm


class Writer:
    """Appends a line a record to metrics.jsonl, and the same numbers to TensorBoard."""

    def __init__(self, workdir: Path, tensorboard: bool):
        self._path = workdir / "metrics.jsonl"
        self._board = SummaryWriter(str(workdir / "tensorboard")) if tensorboard else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One record; a number that is not finite is stored as null."""
        numbers = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step} | numbers) + "\n")
        if self._board:
            for name, value in numbers.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)

    def truncate(self, step: int) -> None:
        """Drop records after `step` and an unfinished last line: they will be written again."""
        if not self._path.exists():
            return
        lines = self._path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        temporary.replace(self._path)

    def close(self) -> None:
        if self._board:
            self._board.close()


class Progress:
    """A bar with loss, pictures/s and time left on a terminal; plain lines elsewhere.

    batch_size: pictures a step; every_steps: steps between plain lines.
    """

    def __init__(self, total: int, initial: int, batch_size: int, every_steps: int):
        self._batch_size, self._every = batch_size, every_steps
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, initial=initial, unit="step", disable=not self._terminal, desc="training"
        )
        self._clock = tqdm(total=total, initial=initial, file=_Silent(), mininterval=0)

    def update(self, step: int, *, loss: float, waited: float) -> None:
        """waited: seconds so far that steps spent waiting for data."""
        self._bar.update(step - self._bar.n) if self._terminal else None
        self._clock.update(step - self._clock.n)
        state = self._clock.format_dict
        rate = state["rate"] or 0.0
        left = (state["total"] - step) / rate if rate else math.nan
        self._bar.set_postfix_str(
            f"loss {loss:.4f}, {rate * self._batch_size:.0f} pictures/s, waited {waited:.0f} s"
        )
        if not self._terminal and step % self._every == 0:
            print(
                f"step {step}/{state['total']}  loss {loss:.4f}  {rate * self._batch_size:.0f} pictures/s  "
                f"waited for data {waited:.1f} s  {_minutes(left)} left",
                flush=True,
            )

    def say(self, step: int, metrics: Mapping[str, float]) -> None:
        """A line that stays: the metrics of an evaluation."""
        if metrics:
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            tqdm.write(f"step {step}  validation  {numbers}")

    def close(self) -> None:
        self._bar.close()
        self._clock.close()


class _Silent:
    """A file that keeps nothing: the clock's own bar is never shown."""

    def write(self, _: str) -> None: ...

    def flush(self) -> None: ...


def _minutes(seconds: float) -> str:
    return "?" if math.isnan(seconds) else tqdm.format_interval(seconds)
