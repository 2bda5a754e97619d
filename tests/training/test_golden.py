"""One training step of the tiny network, number by number."""

import jax
import numpy as np
import pytest

from mtp.config import get_config
from mtp.inference.facts import Facts
from mtp.inference.models import build_model
from mtp.runtime.mesh import data_mesh, put_batch, replicated
from mtp.runtime.settings import compiler_options
from mtp.training.experiment import build_optimiser, build_step, initial_sigmas
from mtp.training.objective import Objective
from mtp.training.state import initial_state

GOLDEN = {
    "loss": 1.8049634,
    "loss_distribution": 0.095496327,
    "loss_two_category": 0.68108422,
    "loss_style": 0.43760487,
    "gradient norm": 1.5487106,
    "gradient of the stem": 5.9412065e-04,
    "gradient of the last cell": 1.9992899e-05,
    "gradient of the pyramid's column": 1.3320284e-03,
    "change of all parameters": 9.6487495e-04,
    "change of a style's bias": -9.9995779e-04,
    "change of the stem's moving mean": 3.3929140e-02,
    "change of the last cell's moving statistics": 6.1599077e-01,
}
WHEN = """
It is right to update these numbers in a commit that is meant to change training (the network's operations or its
initial values, a loss or its default factors, batch norm, the optimiser) and says so; after any other change they must
stand."""
FACTS = Facts(
    ratings=5, style_names=("a", "b"), style_kind="softmax", threshold=3.0, delta=0.5, tau=0.25,
    mean_histogram=(0.1, 0.2, 0.3, 0.25, 0.15),
)  # fmt: skip


def batch():
    """Eight pictures of four sizes on one canvas, from integers that no generator's version changes."""
    slots, height, width = 8, 47, 63
    places = np.arange(slots * height * width * 3).reshape(slots, height, width, 3)
    number = np.arange(slots)
    histograms = 1.0 + (number[:, None] * np.arange(1, 6)) % 7
    return {
        "inputs": {
            "images": (places * places % 8191 % 251).astype(np.uint8),
            "sizes": np.array([(47, 63), (33, 63), (47, 33), (37, 45)] * 2, np.int32),
        },
        "slots": {"filled": np.ones(slots, np.float32)},
        "labels": {
            "distribution": (histograms / histograms.sum(axis=1, keepdims=True)).astype(np.float32),
            "two_category": (number % 3 == 0).astype(np.float32),
            "style": np.eye(2, dtype=np.float32)[number % 2],
        },
        "weights": {
            "distribution": (0.5 + number / 7).astype(np.float32),
            "two_category": np.ones(slots, np.float32),
            "style": (number % 3 > 0).astype(np.float32),
        },
    }


def size(tree):
    """Root mean square of all numbers of a tree."""
    values = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)])
    return float(np.sqrt(np.mean(np.square(values))))


def first_step():
    """(state before, gradients, state after, metrics)."""
    config, mesh = get_config(), data_mesh(1)
    config.model.backbone, config.model.fcn_hidden = "tiny", 16
    config.optim.warmup_epochs, config.optim.trunk_rate, config.optim.heads_rate = 0.0, 1e-3, 1e-3
    config.optim.heads_rate_by = "one"
    model = build_model(config, FACTS)
    optimiser = build_optimiser(config, model, 100, 10)
    objective = Objective(config.loss, dict.fromkeys(model.outputs, 8.0), FACTS.style_kind)
    step = build_step(config, model, objective, optimiser)
    once = compiler_options(run_once=True)
    variables = jax.jit(model.init, compiler_options=once)(0)
    variables |= {"params": model.begin(variables["params"], FACTS.mean_histogram)}
    state = initial_state(variables, initial_sigmas(config, model), optimiser, ema=False)
    state = jax.device_put(state, replicated(mesh))
    gradients = jax.jit(step.gradients, out_shardings=replicated(mesh), compiler_options=once)(
        state, put_batch(batch(), mesh)
    )
    return state, gradients, *jax.jit(step.update, compiler_options=once)(state, gradients)


@pytest.mark.slow
def test_the_first_step():
    before, gradients, after, metrics = first_step()
    changed = jax.tree.map(lambda new, old: new - old, after.params, before.params)
    moved = jax.tree.map(lambda new, old: new - old, after.batch_stats, before.batch_stats)
    bias = changed["heads"]["fcn"]["style"]["bias"]
    found = {name: float(metrics[name]) for name in metrics if name.startswith("loss")} | {
        "gradient norm": float(metrics["gradient_norm"]),
        "gradient of the stem": size(gradients.params["backbone"]["stem_conv1"]),
        "gradient of the last cell": size(gradients.params["backbone"]["cell_3"]),
        "gradient of the pyramid's column": size(gradients.params["heads"]["spp"]),
        "change of all parameters": size(changed),
        "change of a style's bias": float(bias[0]),
        "change of the stem's moving mean": size(moved["backbone"]["stem_bn1"]["moving_mean"]),
        "change of the last cell's moving statistics": size(moved["backbone"]["cell_3"]),
    }
    assert found == pytest.approx(GOLDEN, rel=1e-4), WHEN
