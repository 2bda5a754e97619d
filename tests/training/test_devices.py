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
import pathlib, sys
import jax, numpy as np
from mtp.runtime.settings import keep_freed_memory
keep_freed_memory()  # programs start in the calling thread, also those for several devices
from mtp.runtime.mesh import data_mesh, put_batch, replicated
from mtp.training.objective import Objective
from mtp.training.experiment import build_optimiser
from mtp.training.step import TrainStep
from mtp.training.state import initial_state
from tests.training import test_step as small

def step_on(devices, parts, where):
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
    np.savez(where / f"{devices}_{parts}.npz", *map(np.asarray, leaves))
    (where / f"{devices}_{parts}.txt").write_text(program.as_text())

for devices in (1, 2, 4):
    for parts in (1, 4):
        step_on(devices, parts, pathlib.Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """(devices, parts) -> arrays after three steps of sixteen pictures in micro-batches, the compiled program's text.

    All in one process of four devices, of which a mesh takes the first ones.
    """
    folder = tmp_path_factory.mktemp("steps")
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", STEP, str(folder)],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr

    def read(devices, parts):
        with np.load(folder / f"{devices}_{parts}.npz") as arrays:
            return [arrays[name] for name in arrays.files], (folder / f"{devices}_{parts}.txt").read_text()

    return read


def pictures_in(text, kind):
    """Of all arrays of this type whose last axes are a picture's (9, 9, channels): how many pictures each holds."""
    found = re.findall(rf"{kind}\[((?:\d+,)+)9,9,\d+\]", text)
    return [math.prod(map(int, axes.rstrip(",").split(","))) for axes in found]


@pytest.mark.slow
def test_each_device_computes_its_share_of_each_micro_batch(steps):
    """In one test, lest two workers compile the same programs."""
    for parts in (1, 4):
        alone, text_alone = steps(1, parts)
        assert max(pictures_in(text_alone, "f32")) == 16 // parts
        for devices in (2, 4):
            values, text = steps(devices, parts)
            for mine, theirs in zip(values, alone, strict=True):
                np.testing.assert_allclose(
                    mine, theirs, rtol=1e-4, atol=1e-6, err_msg=f"{devices} devices, {parts} parts"
                )
            # the pixels that a device is given, and the maps of its pictures of one micro-batch
            assert max(pictures_in(text, "u8")) == 16 // devices
            assert max(pictures_in(text, "f32")) == 16 // devices // parts
