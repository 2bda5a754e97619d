"""Training in named steps: restore or initialise, train until, evaluate, save, finish."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from mtp.config import Config
from mtp.data.batches.pipeline import Ahead
from mtp.evaluation.rows import point_metrics
from mtp.runtime.checkpoint import Checkpoints
from mtp.runtime.log import StepProgress, Writer
from mtp.runtime.mesh import put_batch
from mtp.training.experiment import Training
from mtp.training.programs import Programs
from mtp.training.state import TrainState


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


class StopSignal:
    """SIGTERM asks the loop to save and leave after the current step."""

    def __init__(self) -> None:
        self.received = False
        self._before: Any = signal.getsignal(signal.SIGTERM)
        # signals reach the main thread only; a run in another thread cannot be told
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, *_: Any) -> None:
        self.received = True

    def close(self) -> None:
        """From here on SIGTERM does what it did before."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)


def compile_ahead(experiment: Training, step: int) -> Programs:
    """All programs of the run, the one that the batch of `step` needs first."""
    batches, parallel = experiment.abstract_batches(step), experiment.config.train.compile_in_parallel
    at_once = len(batches) if parallel else 1
    return Programs(experiment.train_step, experiment.abstract_state, batches, experiment.mesh, at_once)


def restore_or_init(
    experiment: Training, checkpoints: Checkpoints, writer: Writer, meta: Mapping[str, Any]
) -> TrainState:
    """The latest checkpoint's state, with the log cut back to it; else a new one.

    meta: what this run saves beside its states. Errors: TrainingError where it began with other pictures.
    """
    if checkpoints.latest_step() is None:
        writer.truncate(0)
        return experiment.new_state()
    model, others, there = checkpoints.restore(*experiment.abstract_state.parts())
    state = TrainState.joined(model, others)
    for what, name in (
        ("training split", "split_sha256"),
        ("training pictures' files", "training_pictures_sha256"),
    ):
        if there[name] != meta[name]:
            raise TrainingError(
                f"a run must go on with the pictures that it began with; the SHA-256 of the {what} was "
                f"{there[name][:12]} and is {meta[name][:12]}. Restore the data, or start in a new workdir."
            )
    writer.truncate(int(state.step))
    return state


def validate(experiment: Training, state: TrainState) -> dict[str, float]:
    """Unweighted metrics of the validation split under eval.size, without intervals."""
    rows = experiment.dataset.indices("validation")
    if not len(rows):
        return {}
    predictor = experiment.predictor.with_variables(state.evaluation_variables())
    predictions = predictor.predict(experiment.dataset, rows, canvases=experiment.evaluation_canvases)
    also = ("rmse", "srcc") if experiment.dataset.means_only else ("srcc",)
    names = tuple(dict.fromkeys((experiment.criterion.metric, *also)))
    return point_metrics(experiment.dataset, predictions, experiment.facts, experiment.config, names)


def score(experiment: Training, metrics: Mapping[str, float]) -> float | None:
    """What the best checkpoint is chosen by, higher is better: the criterion of the first trained task.

    None without one (before an evaluation; where only means are known): the last step then counts as the best.
    """
    metric, better = experiment.criterion
    value = metrics.get(metric)
    return None if value is None else -value if better == "low" else value


def train_until(
    experiment: Training,
    programs: Programs,
    batches: Ahead,
    state: TrainState,
    stop: int,
    tell: "Report",
    signal_: StopSignal,
) -> TrainState:
    """Steps up to `stop`; the metrics of a step are fetched after the next one was dispatched.

    Not the first's: the next may have to wait for its program.
    """
    pending: tuple[int, Mapping] | None = None
    for step in range(int(state.step), stop):
        state, metrics = programs(state, put_batch(next(batches), experiment.mesh))
        if pending:
            tell(*pending, waited=batches.waited)
        pending = step + 1, metrics
        if tell.silent:
            tell(*pending, waited=batches.waited)
            pending = None
        if signal_.received:
            break
    if pending:
        tell(*pending, waited=batches.waited)
    return state


class Report:
    """Writes a step's metrics, and stops the run after too many non-finite steps in a row."""

    def __init__(self, config: Config, writer: Writer, progress: StepProgress):
        self._config, self._writer, self._progress = config, writer, progress
        self._last = time.perf_counter()
        self.silent = True  # nothing told yet

    def __call__(self, step: int, metrics: Mapping[str, jax.Array], waited: float) -> None:
        self.silent = False
        bad = int(metrics["bad_steps"])
        self._progress.update(step, loss=float(metrics["loss"]), waited=waited)
        if step % self._config.log.every_steps == 0 or bad:
            now = time.perf_counter()
            values = {f"train/{k}": float(v) for k, v in metrics.items()}
            self._writer.write(
                step, values | {"train/waited_s": waited, "time/since_last_log_s": now - self._last}
            )
            self._last = now
        if bad >= self._config.optim.max_bad_steps:
            raise TrainingError(
                f"{bad} steps in a row gave a loss or gradient that is not finite (step {step}); they changed "
                "nothing. Likely a learning rate too high or bad input: lower optim.trunk_rate or "
                "optim.heads_rate and start again in a new workdir, or resume from the last checkpoint."
            )


def stops(experiment: Training, start: int) -> Iterator[tuple[int, bool]]:
    """(step, whether to evaluate there), ascending, after `start`: where the loop pauses to save."""
    c, total = experiment.config.train, experiment.steps
    every = max(1, round(c.eval_every_epochs * experiment.plan.steps_per_epoch))
    for step in range(start + 1, total + 1):
        evaluates = step % every == 0 or step == total
        if evaluates or step % c.save_every_steps == 0:
            yield step, evaluates


def fit(experiment: Training, workdir: Path, meta: Mapping[str, Any]) -> int | None:
    """Train to the end; the best step, or None where a signal ended the run early (its state is saved)."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    writer = Writer(workdir, experiment.config.log.tensorboard)
    stop_signal = StopSignal()
    programs = compile_ahead(experiment, checkpoints.latest_step() or 0)
    state = restore_or_init(experiment, checkpoints, writer, meta)
    start = int(state.step)
    batches = experiment.batches.iterate(start, experiment.steps)
    progress = StepProgress(
        experiment.steps, start, experiment.config.input.batch_size, experiment.config.log.every_steps
    )
    report = Report(experiment.config, writer, progress)
    try:
        for stop, evaluates in stops(experiment, start):
            state = train_until(experiment, programs, batches, state, stop, report, stop_signal)
            # a signal on the very step of an evaluation waits for it: its save is not repeated
            metrics = validate(experiment, state) if evaluates and int(state.step) == stop else {}
            if metrics:
                writer.write(stop, {f"validation/{k}": v for k, v in metrics.items()})
                progress.say(stop, metrics)
            checkpoints.save(int(state.step), *state.parts(), dict(meta), score(experiment, metrics))
            progress.resume()
            if stop_signal.received:
                break
    finally:
        progress.close()
        writer.close()
        checkpoints.close()
        stop_signal.close()
    return None if stop_signal.received and int(state.step) < experiment.steps else checkpoints.best_step()
