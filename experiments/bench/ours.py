"""Our side of the benchmarks: the programs that the command line runs, on pictures made here."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from experiments.bench.benchmark import Missing, Run, random_pictures
from mtp.config import CACHE, Config, ConfigError, get_config
from mtp.data.batches import buckets
from mtp.data.batches.buckets import Shape
from mtp.models import mtp_nasnet
from mtp.native import accelerated, library
from mtp.runtime import settings
from mtp.runtime.mesh import data_mesh
from mtp.runtime.settings import compiler_options
from mtp.training import experiment, optim
from mtp.training.programs import Programs
from mtp.training.step import Objective, TrainStep, eval_step, initial_state

RATINGS = 10
PATHS = {"plain": False, "native kernel": True}  # run.native; the kernel is built by python -m mtp.native


def cached(folder: str = str(CACHE / "xla")) -> None:
    """As on the command line, freed memory is kept, and compiled programs are kept and found in `folder`."""
    settings.keep_freed_memory()
    settings.keep_programs(folder)


def trunk_and_linear_head(native: bool, **model: Any) -> Config:
    """The same work as the peers': NASNet-A Mobile, global average pooling, one linear layer."""
    c = get_config()
    c.run.native = native
    c.model.columns, c.model.tasks = ("gap",), ("distribution",)
    c.model.update(model)
    return c


def network(config: Config) -> mtp_nasnet.MTPNasNet:
    """Errors: Missing where the native kernel is asked for and not built."""
    try:
        if config.run.native:
            library.load()
    except ConfigError as error:
        raise Missing(str(error)) from error
    return mtp_nasnet.build(config.model, RATINGS, 0)


def variables(model: mtp_nasnet.MTPNasNet) -> Any:
    return jax.jit(functools.partial(experiment.fresh_variables, model, 0))()


def eval_program(model: mtp_nasnet.MTPNasNet, config: Config) -> Callable:
    """(variables, canvases, sizes) -> probabilities, to be jitted."""
    step = functools.partial(eval_step, model, "softmax")
    return accelerated(step) if config.run.native else step


def predictor(config: Config) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """(canvases, sizes) -> distributions (B, K) on the host."""
    model = network(config)
    weights = variables(model)
    forward = jax.jit(eval_program(model, config), compiler_options=compiler_options())
    return lambda images, sizes: np.asarray(forward(weights, images, sizes)["distribution"])


def batch_of(size: Shape, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Canvases and sizes of `batch` pictures that fill them."""
    sizes = np.tile(np.array([size]), (batch, 1))
    height, width = buckets.trimmed(np.array(size))
    return buckets.place(random_pictures(sizes), (int(height), int(width)), batch)


def forward(size: Shape, batch: int, native: bool = False) -> Run:
    cached()
    predict = predictor(trunk_and_linear_head(native))
    return functools.partial(predict, *batch_of(size, batch))


def training_step(config: Config) -> tuple[TrainStep, Any]:
    """The step and its initial state."""
    model = network(config)
    weights = variables(model)
    sigmas = dict.fromkeys(model.outputs, 0.5)
    scalars = dict.fromkeys(model.outputs, jax.ShapeDtypeStruct((), np.float32))
    parameters = {**weights["params"], "log_sigma": scalars}
    optimiser = optim.build(config.optim, 1000, 100, parameters, learn_sigma=False)
    denominators = {task: float(config.input.batch_size) for task in model.outputs}
    objective = Objective(config.loss, denominators, "softmax")
    step = TrainStep(model, objective, optimiser, config, False, config.run.native)
    return step, initial_state(weights, sigmas, optimiser, ema=False)


def labels(outputs: Iterable[str], batch: int) -> dict[str, np.ndarray]:
    """Random labels of the first two tasks, as far as they are among `outputs`, all of weight 1."""
    rng = np.random.default_rng(0)
    values = {
        "distribution": rng.dirichlet(np.ones(RATINGS), batch).astype(np.float32),
        "two_category": rng.integers(0, 2, batch).astype(np.float32),
    }
    weights = {f"{task}_weight": np.ones(batch, np.float32) for task in outputs}
    return {task: values[task] for task in outputs} | weights


def training(config: Config, size: Shape) -> tuple[Run, float]:
    """Steps on a frozen batch, and the seconds of tracing and compiling their programs."""
    step, state = training_step(config)
    images, sizes = batch_of(size, config.input.batch_size)
    batch = jax.device_put({"images": images, "sizes": sizes, **labels(step.model.outputs, len(images))})
    begun = time.perf_counter()
    programs = Programs(step, state, {(images.shape[1], images.shape[2]): batch}, data_mesh(), at_once=1)
    programs.wait()
    seconds = time.perf_counter() - begun
    held = [state]

    def run() -> float:
        held[0], metrics = programs(held[0], batch)
        return float(metrics["loss"])

    return run, seconds


def train(size: Shape, batch: int, native: bool = False, remat: bool = False) -> Run:
    """One step of forward, loss, backward and AdamW on a frozen batch."""
    cached()
    config = trunk_and_linear_head(native, remat=remat)
    config.input.batch_size = batch
    return training(config, size)[0]
