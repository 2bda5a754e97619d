"""Products of float32 keep float32's precision on accelerators, in every program, forward and backward."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from mtp.config import get_config
from mtp.inference.facts import Facts
from mtp.inference.models import build_model
from mtp.inference.programs import Programs
from mtp.training.experiment import build_optimiser, build_step
from mtp.training.objective import Objective
from mtp.training.state import initial_state

FACTS = Facts(5, ("a", "b"), "softmax", 3.0, 0.5, 0.25, (0.2,) * 5)
INPUTS = {
    "images": jax.ShapeDtypeStruct((2, 47, 63, 3), jnp.uint8),
    "sizes": jax.ShapeDtypeStruct((2, 2), jnp.int32),
}


def programs(precision):
    """StableHLO of a prediction, of features and of a training step's gradients."""
    config = get_config()
    config.model.backbone, config.model.fcn_hidden = "tiny", 8
    config.model.columns, config.model.spp_pool = ("gap", "fcn", "spp"), "average"
    config.model.precision = precision
    model = build_model(config, FACTS)
    variables = jax.eval_shape(model.init, 0)
    made = Programs(model, FACTS.style_kind, native=False, precision=precision)
    for program in (made.probabilities, made.features):
        yield program.lower(variables, INPUTS).as_text()
    optimiser = build_optimiser(config, model, 100, 10)
    step = build_step(
        config, model, Objective(config.loss, dict.fromkeys(model.outputs, 2.0), "softmax"), optimiser
    )
    state = jax.eval_shape(
        lambda v: initial_state(v, dict.fromkeys(model.outputs, 0.5), optimiser, ema=False), variables
    )
    one = jax.ShapeDtypeStruct((2,), jnp.float32)
    labels = {"distribution": (2, 5), "two_category": (2,), "style": (2, 2)}
    batch = {
        "inputs": INPUTS,
        "slots": {"filled": one},
        "labels": {task: jax.ShapeDtypeStruct(shape, jnp.float32) for task, shape in labels.items()},
        "weights": dict.fromkeys(labels, one),
    }
    yield jax.jit(step.gradients).lower(state, batch).as_text()


def precisions(text):
    """Of each product and convolution: the precision of its two factors."""
    lines = [
        line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|dot|convolution)\b", line)
    ]
    return [re.findall(r"HIGHEST|HIGH|DEFAULT", line) for line in lines]


def test_every_product_is_of_the_precision_that_the_option_names():
    for text in programs("highest"):
        found = precisions(text)
        assert len(found) > 10
        np.testing.assert_array_equal(found, [["HIGHEST", "HIGHEST"]] * len(found))


def test_the_option_can_give_precision_away():
    found = precisions(next(programs("default")))
    assert len(found) > 10 and not any({"HIGHEST", "HIGH"} & set(factors) for factors in found)
