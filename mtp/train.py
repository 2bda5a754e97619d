"""Training in named steps: prepare, restore or initialise, train until, evaluate, save, finish."""

import dataclasses
import functools
import importlib.metadata
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtp import evaluate, optim, weighting
from mtp.checkpoint import Checkpoints
from mtp.data.load import load
from mtp.data.pipeline import TrainBatches
from mtp.data.plan import TrainPlan
from mtp.data.schema import DataError, Dataset
from mtp.evaluate import Facts
from mtp.log import Progress, Writer
from mtp.mesh import batch_sharding, data_mesh, put_batch, replicated
from mtp.models import mtp_nasnet, pretrained
from mtp.ops.ratings import histograms, mean_and_std
from mtp.step import Objective, TrainState, TrainStep, eval_step, initial_state


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that follows from configuration and data, before any state."""

    config: ConfigDict
    dataset: Dataset
    facts: Facts
    mesh: Mesh
    model: mtp_nasnet.MTPNasNet
    plan: TrainPlan
    batches: TrainBatches
    train_step: TrainStep

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return math.ceil(self.config.train.epochs * self.plan.steps_per_epoch)

    @functools.cached_property
    def predict(self) -> evaluate.Predict:
        """The jitted forward pass; jax compiles it once a canvas shape."""
        return jax.jit(functools.partial(eval_step, self.model, self.facts.style_kind))


def learn_facts(dataset: Dataset, config: ConfigDict) -> Facts:
    """What later evaluations need to know of the training split."""
    rows = dataset.indices("train")
    if not len(rows):
        raise DataError("the training split must hold at least one picture; it is empty")
    scale = weighting.rating_scale(dataset.ratings, config.loss.threshold, config.loss.delta, config.loss.tau)
    styles = dataset.styles[rows]
    labelled = styles[~np.isnan(styles).any(axis=1)] if styles.shape[1] else styles
    several = bool(len(labelled)) and bool((labelled.sum(axis=1) > 1).any())
    return Facts(
        ratings=dataset.ratings,
        style_names=dataset.style_names if len(labelled) else (),
        style_kind="sigmoid" if several else "softmax",
        threshold=scale.threshold,
        delta=scale.delta,
        tau=scale.tau,
        mean_histogram=tuple(histograms(dataset.votes[rows]).mean(axis=0).tolist()),
    )


def training_labels(dataset: Dataset, facts: Facts, config: ConfigDict) -> dict[str, np.ndarray]:
    """Labels and weights of every picture, float32; whatever is not in the training split weighs zero."""
    truth = histograms(dataset.votes)
    rows = dataset.indices("train")
    weights = np.zeros((2, len(dataset)), np.float32)
    weights[:, rows] = weighting.reliability(
        dataset.votes[rows], config.loss.reliability, facts.threshold, facts.tau, config.seed
    )
    labels = {
        "distribution": truth.astype(np.float32),
        "distribution_weight": weights[0],
        "two_category": (mean_and_std(truth)[0] > facts.threshold).astype(np.float32),
        "two_category_weight": weights[1],
    }
    if facts.style_names:
        style_weight = np.zeros(len(dataset), np.float32)
        style_weight[rows] = ~np.isnan(dataset.styles[rows]).any(axis=1)
        labels |= {"style": np.nan_to_num(dataset.styles).astype(np.float32), "style_weight": style_weight}
    return labels


def prepare(config: ConfigDict, dataset: Dataset, facts: Facts) -> Experiment:
    """Model, plan, batches and step of a run."""
    rows = dataset.indices("train")
    labels = training_labels(dataset, facts, config)
    model = mtp_nasnet.build(config.model, facts.ratings, len(facts.style_names))
    plan = TrainPlan.from_config(config, rows, dataset.sizes)
    batch = config.input.batch_size
    labelled = {task: np.count_nonzero(labels[f"{task}_weight"][rows]) / len(rows) for task in model.outputs}
    shares = {task: labelled[task] if task == "style" else 1.0 for task in model.outputs}
    objective = Objective(config.loss, {t: batch * share for t, share in shares.items()}, facts.style_kind)
    shape = jax.eval_shape(functools.partial(fresh_variables, model, config.seed))
    optimiser = optim.build(
        config.optim,
        math.ceil(config.train.epochs * plan.steps_per_epoch),
        plan.steps_per_epoch,
        {**shape["params"], "log_sigma": dict.fromkeys(model.outputs, jax.ShapeDtypeStruct((), np.float32))},
        learn_sigma=config.loss.learn_sigma,
    )
    return Experiment(
        config=config,
        dataset=dataset,
        facts=facts,
        mesh=data_mesh(config.run.devices),
        model=model,
        plan=plan,
        batches=TrainBatches(dataset, plan, labels, config),
        train_step=TrainStep(model, objective, optimiser, config, bool(config.model.weights)),
    )


def fresh_variables(model: mtp_nasnet.MTPNasNet, seed: int) -> dict[str, Any]:
    """Initial parameters and batch statistics; no array depends on a picture's size."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    images = np.zeros((1, 63, 63, 3), np.uint8)
    return model.init(key, images, np.full((1, 2), 63, np.int32))


def new_state(experiment: Experiment) -> TrainState:
    """Step 0, on the mesh: seeded weights, with the trunk's loaded where the configuration says so."""
    c = experiment.config
    variables = jax.jit(functools.partial(fresh_variables, experiment.model))(c.seed)
    if c.model.weights:
        variables = pretrained.load_backbones(variables, c.model.weights, c.model.backbone)
    sigmas = dict(zip(mtp_nasnet.TASKS, c.loss.log_sigma, strict=True))
    state = initial_state(
        variables,
        {task: sigmas[task] for task in experiment.model.outputs},
        experiment.train_step.optimiser,
        ema=c.optim.ema_decay > 0,
    )
    return jax.device_put(state, replicated(experiment.mesh))


def abstract_state(experiment: Experiment) -> Any:
    """Shapes, types and places of the state, without its values."""
    place = replicated(experiment.mesh)
    shapes = jax.eval_shape(functools.partial(_seeded_state, experiment))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)


def _seeded_state(experiment: Experiment) -> TrainState:
    return initial_state(
        fresh_variables(experiment.model, 0),
        dict.fromkeys(experiment.model.outputs, 0.0),
        experiment.train_step.optimiser,
        ema=experiment.config.optim.ema_decay > 0,
    )


class Programs:
    """The training step compiled once for each batch shape, all at the same time.

    A batch of any other shape is an error of the compiled program: nothing is ever compiled in the loop.
    """

    def __init__(self, experiment: Experiment, shapes: list[tuple[int, int]]):
        workers = len(shapes) if experiment.config.train.compile_in_parallel else 1
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="compile")
        self._programs = {s: self._pool.submit(self._compile, experiment, s) for s in shapes}

    @staticmethod
    def _compile(experiment: Experiment, shape: tuple[int, int]) -> Any:
        place = batch_sharding(experiment.mesh)
        batch = experiment.batches.abstract_batch(shape)
        batch = {k: jax.ShapeDtypeStruct(s, t, sharding=place) for k, (s, t) in batch.items()}
        whole = replicated(experiment.mesh)
        step = jax.jit(experiment.train_step, donate_argnums=0, out_shardings=(whole, whole))
        return step.lower(abstract_state(experiment), batch).compile()

    def __call__(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Mapping]:
        height, width = batch["images"].shape[1:3]
        return self._programs[height, width].result()(state, batch)

    def __len__(self) -> int:
        return len(self._programs)


class StopSignal:
    """SIGTERM asks the loop to save and leave after the current step."""

    def __init__(self) -> None:
        self.received = False
        # signals reach the main thread only; a run in another thread cannot be told
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, *_: Any) -> None:
        self.received = True


def restore_or_init(experiment: Experiment, checkpoints: Checkpoints, writer: Writer) -> TrainState:
    """The latest checkpoint's state, with the log cut back to it; else a new one."""
    if checkpoints.latest_step() is None:
        return new_state(experiment)
    state, _ = checkpoints.restore(abstract_state(experiment))
    writer.truncate(int(state.step))
    return state


def validate(experiment: Experiment, state: TrainState) -> dict[str, float]:
    """Unweighted metrics of the validation split under eval.size, without intervals."""
    rows = experiment.dataset.indices("validation")
    if not len(rows):
        return {}
    predictions = evaluate.predict(
        experiment.predict,
        state.evaluation_variables(),
        experiment.dataset,
        rows,
        experiment.config,
        experiment.mesh,
        experiment.config.eval.size,
    )
    return evaluate.point_metrics(experiment.dataset, predictions)


def train_until(
    experiment: Experiment,
    programs: Programs,
    state: TrainState,
    stop: int,
    tell: "Report",
    signal_: StopSignal,
) -> TrainState:
    """Steps up to `stop`; the metrics of a step are fetched after the next one was dispatched."""
    batches = experiment.batches.iterate(int(state.step), stop)
    pending: tuple[int, Mapping] | None = None
    for step, batch in zip(range(int(state.step), stop), batches, strict=True):
        state, metrics = programs(state, put_batch(batch, experiment.mesh))
        if pending:
            tell(*pending, waited=batches.waited)
        pending = step + 1, metrics
        if signal_.received:
            break
    if pending:
        tell(*pending, waited=batches.waited)
    return state


class Report:
    """Writes a step's metrics, and stops the run after too many non-finite steps in a row."""

    def __init__(self, config: ConfigDict, writer: Writer, progress: Progress):
        self._config, self._writer, self._progress = config, writer, progress
        self._last = time.perf_counter()

    def __call__(self, step: int, metrics: Mapping[str, jax.Array], waited: float) -> None:
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


def stops(experiment: Experiment, start: int) -> Iterator[tuple[int, bool]]:
    """(step, whether to evaluate there), ascending, after `start`: where the loop pauses to save."""
    c, total = experiment.config.train, experiment.steps
    every = max(1, round(c.eval_every_epochs * experiment.plan.steps_per_epoch))
    for step in range(start + 1, total + 1):
        evaluates = step % every == 0 or step == total
        if evaluates or step % c.save_every_steps == 0:
            yield step, evaluates


def versions() -> dict[str, str]:
    """Of the libraries that numbers depend on."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")
    return {name: importlib.metadata.version(name) for name in names}


def fit(experiment: Experiment, workdir: Path, meta: Mapping[str, Any]) -> int | None:
    """Train to the end; the best step, or None where a signal ended the run early (its state is saved)."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    writer = Writer(workdir, experiment.config.log.tensorboard)
    stop_signal = StopSignal()
    programs = Programs(experiment, experiment.plan.shapes)
    state = restore_or_init(experiment, checkpoints, writer)
    start = int(state.step)
    progress = Progress(
        experiment.steps, start, experiment.config.input.batch_size, experiment.config.log.every_steps
    )
    report = Report(experiment.config, writer, progress)
    for stop, evaluates in stops(experiment, start):
        state = train_until(experiment, programs, state, stop, report, stop_signal)
        metrics = {}
        if evaluates and not stop_signal.received:
            metrics = validate(experiment, state)
            writer.write(stop, {f"validation/{k}": v for k, v in metrics.items()})
            progress.say(stop, metrics)
        checkpoints.save(int(state.step), state, dict(meta), metrics.get("emd_r2"))
        if stop_signal.received:
            break
    progress.close()
    writer.close()
    checkpoints.close()
    return None if stop_signal.received and int(state.step) < experiment.steps else checkpoints.best_step()


def load_experiment(config: ConfigDict) -> Experiment:
    """Data, facts and model of a configuration."""
    dataset = load(config.data, config.seed)
    return prepare(config, dataset, learn_facts(dataset, config))
