"""The plain programs lower for GPUs and TPUs on a machine without either, to nothing that only a CPU has."""

import functools
import re

import jax
import pytest

from experiments.bench import abstract
from mtp.config import get_config

PLATFORMS = ("cuda", "tpu")
SHAPE, PICTURES = (225, 337), 4


@functools.cache
def configured(backbone, dtype):
    config = get_config()
    config.model.backbone, config.model.dtype, config.input.batch_size = backbone, dtype, PICTURES
    return config


def forward(config):
    model, _, state = abstract.training(config)
    inputs = abstract.batch(config, model, SHAPE)["inputs"]
    return jax.jit(lambda v, inputs: model.logits(v, inputs)[0]).trace(state.evaluation_variables(), inputs)


def training_step(config):
    model, step, state = abstract.training(config)
    return jax.jit(step).trace(state, abstract.batch(config, model, SHAPE))


@pytest.mark.slow
@pytest.mark.parametrize("program", [forward, training_step])
@pytest.mark.parametrize(
    ("backbone", "dtype"), [("tiny", "float32"), ("mobile", "bfloat16"), ("lite0", "bfloat16")]
)
def test_a_program_lowers_without_a_call_of_foreign_code(program, backbone, dtype):
    traced = program(configured(backbone, dtype))
    for platform in PLATFORMS:
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.convolution" in text or "stablehlo.dot_general" in text
        assert not set(re.findall(r"custom_call @(\w+)", text)), platform
