"""Our side of the benchmarks: the programs that the command line runs, on pictures made here."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import functools
import time
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from experiments.bench.abstract import step_of
from experiments.bench.benchmark import Missing, Run, random_pictures
from mtp.config import CACHE, Config, ConfigError, get_config
from mtp.data.batches.sizes import Shape
from mtp.data.batches.views import Arrays, empty_batch, slot_of
from mtp.inference.predictor import Predictor
from mtp.native import library
from mtp.runtime import settings
from mtp.runtime.mesh import data_mesh
from mtp.training.programs import Programs
from mtp.training.state import TrainState, initial_state
from mtp.training.step import TrainStep

RATINGS = 10
PATHS = {"plain": False, "native kernel": True}  # whether with the kernels


def cached(folder: str = str(CACHE / "xla")) -> None:
    """As on the command line, freed memory is kept, and compiled programs are kept and found in `folder`."""
    settings.keep_programs(folder)
    settings.keep_freed_memory()


def trunk_and_linear_head(native: bool, **model: Any) -> Config:
    """The same work as the peers': NASNet-A Mobile, global average pooling, one linear layer."""
    c = get_config()
    c.run.native = "on" if native else "off"
    c.model.columns, c.model.tasks = ("gap",), ("distribution",)
    c.model.update(model)
    return c


def need_kernels(config: Config) -> None:
    """Errors: Missing where the native kernels are asked for and cannot be used."""
    try:
        if config.run.native == "on":
            library.load()
    except ConfigError as error:
        raise Missing(str(error)) from error


def predictor(config: Config) -> Predictor:
    """With the variables of a seed. Errors: Missing as `need_kernels`."""
    need_kernels(config)
    return Predictor.untrained(config, RATINGS)


def batch_of(predictor: Predictor, size: Shape, batch: int) -> Arrays:
    """The inputs of `batch` pictures of one size, on a canvas that they fill."""
    view = predictor.view("native")
    height, width = view.occupied(np.array([size]))[0]
    inputs = empty_batch(view.spec((int(height), int(width))), batch)
    for slot, picture in enumerate(random_pictures(np.tile([size], (batch, 1)))):
        view.write(slot_of(inputs, slot), picture, size, None)
    return inputs


def answer(predictor: Predictor, inputs: Arrays) -> np.ndarray:
    """From inputs to distributions (B, K), both on the host."""
    given: Any = inputs  # a jitted function takes arrays of numpy
    return np.asarray(predictor.programs.probabilities(predictor.variables, given)["distribution"])


def forward(size: Shape, batch: int, native: bool = False) -> Run:
    """From canvases to distributions."""
    cached()
    predicting = predictor(trunk_and_linear_head(native))
    return functools.partial(answer, predicting, batch_of(predicting, size, batch))


def training_step(predictor: Predictor) -> tuple[TrainStep, TrainState]:
    """The step of the predictor's configuration and its initial state."""
    model = predictor.model
    step = step_of(predictor.config, model)
    sigmas = dict.fromkeys(model.outputs, 0.5)
    return step, initial_state(predictor.variables, sigmas, step.optimiser, ema=False)


def labels(outputs: Iterable[str], batch: int) -> dict[str, Arrays]:
    """Random labels of the first two tasks, as far as they are among `outputs`, all of weight 1."""
    rng = np.random.default_rng(0)
    values = {
        "distribution": rng.dirichlet(np.ones(RATINGS), batch).astype(np.float32),
        "two_category": rng.integers(0, 2, batch).astype(np.float32),
    }
    return {
        "labels": {task: values[task] for task in outputs},
        "slots": {"filled": np.ones(batch, np.float32)},
        "weights": {task: np.ones(batch, np.float32) for task in outputs},
    }


def training_batch(predictor: Predictor, size: Shape) -> dict[str, Arrays]:
    """input.batch_size pictures of one size with random labels."""
    batch = predictor.config.input.batch_size
    return {"inputs": batch_of(predictor, size, batch), **labels(predictor.model.outputs, batch)}


def training(config: Config, size: Shape) -> tuple[Run, float]:
    """Steps on a frozen batch, and the seconds of tracing and compiling their programs."""
    begun_with = predictor(config)
    step, state = training_step(begun_with)
    batch = jax.device_put(training_batch(begun_with, size))
    begun = time.perf_counter()
    programs = Programs(step, state, [batch], data_mesh(), at_once=1)
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
