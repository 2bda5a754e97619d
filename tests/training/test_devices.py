"""A training step on several devices: what one device computes, and no device does another's work."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

STEP = """
import sys
import jax, numpy as np
from mtp.runtime.settings import keep_freed_memory
keep_freed_memory()  # programs start in the calling thread, also those for several devices
from mtp.runtime.mesh import data_mesh, put_batch, replicated
from mtp.training.objective import Objective
from mtp.training.experiment import build_optimiser
from mtp.training.step import TrainStep
from mtp.training.state import initial_state
from tests.training import test_step as small

devices, parts, where = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
config = small.configured(optim__accumulate=parts, optim__ema_decay=0.9, input__batch_size=16)
mesh, optimiser = data_mesh(devices), build_optimiser(config, small.SMALL, 100, 10)
step = TrainStep(small.SMALL, Objective(config.loss, small.DENOMINATORS, "softmax"), optimiser, config, False)
state = initial_state(small.SMALL.init(0), dict.fromkeys(small.TASKS, 0.5), optimiser, ema=True)
state = jax.device_put(state, replicated(mesh))
batches = [put_batch(small.batch(seed, slots=16), mesh) for seed in range(3)]
program = jax.jit(step, out_shardings=replicated(mesh)).lower(state, batches[0]).compile()
for batch in batches:
    state, metrics = program(state, batch)
leaves = jax.tree.leaves((state.params, state.batch_stats, state.average, metrics))
np.savez(where, *map(np.asarray, leaves))
print(program.as_text())
"""


def step_on(folder, devices, parts):
    """(arrays after three steps of sixteen pictures in `parts` micro-batches, the compiled program's text)."""
    where = folder / f"{devices}_{parts}.npz"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", STEP, str(devices), str(parts), str(where)],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    with np.load(where) as arrays:
        return [arrays[name] for name in arrays.files], run.stdout


def pictures_in(text, kind):
    """Of all arrays of this type whose last axes are a picture's (9, 9, channels): how many pictures each holds."""
    found = re.findall(rf"{kind}\[((?:\d+,)+)9,9,\d+\]", text)
    return [math.prod(map(int, axes.rstrip(",").split(","))) for axes in found]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """parts -> what one device computes."""
    folder = tmp_path_factory.mktemp("one")
    return {parts: step_on(folder, 1, parts) for parts in (1, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("parts", [1, 4])
def test_each_device_computes_its_share_of_each_micro_batch(alone, tmp_path, devices, parts):
    values, text = step_on(tmp_path, devices, parts)
    for mine, theirs in zip(values, alone[parts][0], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    # the pixels that a device is given, and the maps of its pictures of one micro-batch
    assert max(pictures_in(text, "u8")) == 16 // devices
    assert max(pictures_in(text, "f32")) == 16 // devices // parts
    assert max(pictures_in(alone[parts][1], "f32")) == 16 // parts
