"""The plain programs lower for GPUs and TPUs on a machine without either, to nothing that only a CPU has."""

import functools
import re

import jax
import jax.numpy as jnp
import optax
import pytest

from mtp.config import get_config
from mtp.models import mtp_nasnet
from mtp.tasks import TASKS
from mtp.training.objective import Objective
from mtp.training.state import initial_state
from mtp.training.step import TrainStep

PLATFORMS = ("cuda", "tpu")
SHAPE, PICTURES = (225, 337), 4


@functools.cache
def network(backbone, dtype):
    config = get_config()
    config.model.backbone, config.model.dtype = backbone, dtype
    return config, mtp_nasnet.build(config.model, 10, 14)


def batch():
    of = jax.ShapeDtypeStruct
    tasks = {"distribution": (PICTURES, 10), "two_category": (PICTURES,), "style": (PICTURES, 14)}
    return {
        "inputs": {"images": of((PICTURES, *SHAPE, 3), jnp.uint8), "sizes": of((PICTURES, 2), jnp.int32)},
        "slots": {"filled": of((PICTURES,), jnp.float32)},
        "labels": {task: of(shape, jnp.float32) for task, shape in tasks.items()},
        "weights": {task: of((PICTURES,), jnp.float32) for task in tasks},
    }


def forward(backbone, dtype):
    _, model = network(backbone, dtype)
    variables = jax.eval_shape(model.init, 0)
    return jax.jit(lambda v, inputs: model.logits(v, inputs)[0]).trace(variables, batch()["inputs"])


def training_step(backbone, dtype):
    config, model = network(backbone, dtype)
    optimiser = optax.adamw(1e-4)
    objective = Objective(config.loss, dict.fromkeys(TASKS, float(PICTURES)), "softmax")
    step = TrainStep(model, objective, optimiser, config, pretrained=False)

    def begin(variables):
        return initial_state(variables, dict.fromkeys(TASKS, 0.0), optimiser, ema=False)

    state = jax.eval_shape(begin, jax.eval_shape(model.init, 0))
    return jax.jit(step).trace(state, batch())


@pytest.mark.slow
@pytest.mark.parametrize("program", [forward, training_step])
@pytest.mark.parametrize(
    ("backbone", "dtype"), [("tiny", "float32"), ("mobile", "bfloat16"), ("lite0", "bfloat16")]
)
def test_a_program_lowers_without_a_call_of_foreign_code(program, backbone, dtype):
    traced = program(backbone, dtype)
    for platform in PLATFORMS:
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.convolution" in text or "stablehlo.dot_general" in text
        assert not set(re.findall(r"custom_call @(\w+)", text)), platform
