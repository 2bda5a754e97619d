"""A training step and its arguments as shapes, without a value: enough to lower and to compile it for any platform."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mtp.config import Config
from mtp.data.batches.sizes import Shape
from mtp.models import mtp_nasnet
from mtp.models.model import Model
from mtp.runtime.mesh import batch_sharding, replicated_shapes
from mtp.tasks import TASKS
from mtp.training.experiment import build_optimiser, build_step
from mtp.training.objective import Objective
from mtp.training.state import TrainState, initial_state
from mtp.training.step import TrainStep

RATINGS, STYLES = 10, 14  # AVA's
LABELS = {"distribution": (RATINGS,), "two_category": (), "style": (STYLES,)}


def step_of(config: Config, model: Model) -> TrainStep:
    """The step of a network, for a thousand steps with a label of every picture."""
    optimiser = build_optimiser(config, model, steps=1000, steps_per_epoch=100)
    denominators = dict.fromkeys(model.outputs, float(config.input.batch_size))
    return build_step(config, model, Objective(config.loss, denominators, "softmax"), optimiser)


def training(config: Config) -> tuple[Model, TrainStep, TrainState]:
    """The network of a configuration on AVA, its step, and the shapes of its state."""
    model = mtp_nasnet.build(config.model, RATINGS, STYLES)
    step = step_of(config, model)

    def begin(variables: Any) -> TrainState:
        sigmas = dict.fromkeys(TASKS, 0.0)
        return initial_state(variables, sigmas, step.optimiser, ema=config.optim.ema_decay > 0)

    return model, step, jax.eval_shape(begin, jax.eval_shape(model.init, config.seed))


def batch(config: Config, model: Model, canvas: Shape) -> dict[str, Any]:
    """Shapes of a batch of input.batch_size pictures on canvases."""
    pictures = config.input.batch_size

    def of(shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((pictures, *shape), dtype)

    return {
        "inputs": {"images": of((*canvas, 3), jnp.uint8), "sizes": of((2,), jnp.int32)},
        "slots": {"filled": of(())},
        "labels": {task: of(LABELS[task]) for task in model.outputs},
        "weights": {task: of(()) for task in model.outputs},
    }


def on(mesh: Mesh, state: TrainState, given: Any) -> tuple[TrainState, Any]:
    """State and batch as they lie on devices: whole on each, and shared out along the first axis."""
    place = batch_sharding(mesh)
    shared = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), given)
    return replicated_shapes(state, mesh), shared
