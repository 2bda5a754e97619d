"""Training in named steps: restore or initialise, train until, evaluate, save, finish."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jax

from mtp.config import Config
from mtp.data.batches.pipeline import Ahead
from mtp.evaluation.rows import point_metrics
from mtp.processes.signals import Stop
from mtp.runtime.checkpoint import Checkpoints
from mtp.runtime.log import VALIDATION, StepProgress, Writer, say
from mtp.runtime.mesh import put_batch
from mtp.training.experiment import Training
from mtp.training.programs import Programs
from mtp.training.state import TrainState

# what a run must go on with -> where its meta has the SHA-256
SAME_DATA = {
    "training split": "split_sha256",
    "training pictures' files": "training_pictures_sha256",
    "votes and styles": "labels_sha256",
}


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


def compile_ahead(experiment: Training, step: int) -> Programs:
    """All programs of the run, the one that the batch of `step` needs first."""
    batches, parallel = experiment.abstract_batches(step), experiment.config.train.compile_in_parallel
    at_once = len(batches) if parallel else 1
    return Programs(experiment.train_step, experiment.abstract_state, batches, experiment.mesh, at_once)


def refuse_other_data(checkpoints: Checkpoints, meta: Mapping[str, Any]) -> None:
    """Errors: TrainingError where the run began with other pictures or votes; meta: what it saves beside its states."""
    if checkpoints.latest_step() is None:
        return
    there = checkpoints.meta()
    for what, name in SAME_DATA.items():
        if there[name] != meta[name]:
            raise TrainingError(
                f"a run must go on with the pictures that it began with; the SHA-256 of the {what} was "
                f"{there[name][:12]} and is {meta[name][:12]}. Restore the data, or start in a new workdir."
            )


def restore_or_init(experiment: Training, checkpoints: Checkpoints, writer: Writer) -> TrainState:
    """The latest checkpoint's state, with the log cut back to it; else a new one."""
    latest = checkpoints.latest_step()
    if latest is None:
        writer.truncate(0)
        return experiment.new_state()
    writer.truncate(latest, validated=not checkpoints.awaits_rating(latest))
    model, others, _ = checkpoints.restore(*experiment.abstract_state.parts())
    return TrainState.joined(model, others)


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
    stopped: Callable[[], bool],
) -> TrainState:
    """Steps up to `stop`, or until `stopped`; the metrics of a step are fetched after the next one was dispatched.

    Not the first's: the next may have to wait for its program.
    """
    pending: tuple[int, Mapping] | None = None
    for step in range(int(state.step), stop):
        batch = put_batch(next(batches), experiment.mesh)
        if not programs.ready(batch, stopped):
            break
        state, metrics = programs(state, batch)
        if pending:
            tell(*pending, waited=batches.waited)
        pending = step + 1, metrics
        if tell.silent:
            tell(*pending, waited=batches.waited)
            pending = None
        if stopped():
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


def evaluates(experiment: Training, step: int) -> bool:
    """Whether the state after `step` is validated."""
    every = max(1, round(experiment.config.train.eval_every_epochs * experiment.plan.steps_per_epoch))
    return step % every == 0 or step == experiment.steps


def stops(experiment: Training, start: int) -> Iterator[int]:
    """The steps after `start`, ascending, where the loop pauses to save."""
    every = experiment.config.train.save_every_steps
    for step in range(start + 1, experiment.steps + 1):
        if evaluates(experiment, step) or step % every == 0:
            yield step


class Loop:
    """A run in progress: states are trained, saved and then validated."""

    def __init__(self, experiment: Training, checkpoints: Checkpoints, writer: Writer, stop: Stop):
        self._experiment, self._checkpoints = experiment, checkpoints
        self._writer, self._stop = writer, stop

    def train(self, state: TrainState, programs: Programs, meta: Mapping[str, Any]) -> TrainState:
        """To the last step, or to where a signal came; the state that is returned is saved, with its meta."""
        experiment, start = self._experiment, int(state.step)
        c, total = experiment.config, experiment.steps
        batches = experiment.batches.iterate(start, total)
        progress = StepProgress(total, start, c.input.batch_size, c.log.every_steps)
        report = Report(c, self._writer, progress)
        with closing(progress):
            for step in stops(experiment, start):
                with self._stop.held():
                    state = train_until(experiment, programs, batches, state, step, report, self._stopped)
                    if int(state.step):
                        self.save(state, meta)
                if self._stop.received and int(state.step) < total:
                    break
                if evaluates(experiment, step):
                    self.validate(state)
                progress.resume()
        return state

    def save(self, state: TrainState, meta: Mapping[str, Any]) -> None:
        """In the background."""
        step = int(state.step)
        self._checkpoints.save(step, *state.parts(), meta, rated=evaluates(self._experiment, step))

    def validate(self, state: TrainState) -> None:
        """Once the state is saved: what is ended in the middle of it is done by the next start."""
        self._checkpoints.wait()
        step, metrics = int(state.step), validate(self._experiment, state)
        if metrics:
            self._writer.write(step, {f"{VALIDATION}{k}": v for k, v in metrics.items()})
            say(step, metrics)
        self._checkpoints.rate(step, score(self._experiment, metrics))

    def _stopped(self) -> bool:
        """Errors: CheckpointError where a save has failed."""
        self._checkpoints.check()
        return self._stop.received is not None


def fit(
    experiment: Training, checkpoints: Checkpoints, workdir: Path, meta: Mapping[str, Any], stop: Stop
) -> int:
    """Train to the end; the best step. meta: what is saved beside the states.

    Errors: SystemExit after a signal, once the state is saved; one during the last step is too late to matter.
    """
    latest = checkpoints.latest_step()
    start = latest or 0
    programs = compile_ahead(experiment, start) if start < experiment.steps else None
    with closing(Writer(workdir, experiment.config.log.tensorboard)) as writer:
        state = restore_or_init(experiment, checkpoints, writer)
        loop = Loop(experiment, checkpoints, writer, stop)
        if latest is not None and checkpoints.awaits_rating(latest):
            loop.validate(state)
        if programs:
            state = loop.train(state, programs, meta)
    if int(state.step) < experiment.steps:
        stop.end()
    best = checkpoints.best_step()
    assert best is not None
    return best
