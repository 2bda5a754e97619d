"""Meshes of one and of two devices."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from mtp.runtime.mesh import batch_sharding, data_mesh, put_batch, replicated

TWO_DEVICES = """
import jax, numpy as np
from mtp.runtime.settings import keep_freed_memory
keep_freed_memory()  # programs start in the calling thread, also those for several devices
from mtp.runtime.mesh import batch_sharding, data_mesh, put_batch, replicated
mesh = data_mesh()
assert mesh.size == 2 and data_mesh(1).size == 1
x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
batch = put_batch({"x": x, "weight": np.ones(4, np.float32)}, mesh)
assert batch["x"].sharding.is_equivalent_to(batch_sharding(mesh), 2)
assert [shard.data.shape for shard in batch["x"].addressable_shards] == [(2, 3), (2, 3)]
assert [shard.data.shape for shard in jax.device_put(x, replicated(mesh)).addressable_shards] == [(4, 3)] * 2
order = np.array([3, 1, 0, 2])
gather = jax.jit(lambda b: (b["x"][order] - b["x"].mean(0)) * b["weight"][:, None])
np.testing.assert_allclose(gather(batch), x[order] - x.mean(0), rtol=1e-5, atol=1e-6)
try:
    put_batch({"x": x[:3]}, mesh)
except ValueError as error:
    print(error)
"""


def test_two_devices_compute_what_one_does_and_refuse_an_odd_batch():
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", TWO_DEVICES],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "3 pictures came for 2 devices" in run.stdout
    assert "Make input.batch_size a multiple of the devices" in run.stdout


def test_the_mesh_has_one_automatic_axis_named_data():
    mesh = data_mesh()
    assert mesh.axis_names == ("data",)
    assert mesh.axis_types == (AxisType.Auto,)
    assert mesh.size == len(jax.devices())


@pytest.mark.parametrize("devices", [-1, 10_000])
def test_devices_that_are_not_there_are_an_error(devices):
    with pytest.raises(ValueError, match=f"run.devices must be 0 .*; {devices} came"):
        data_mesh(devices)


def test_a_batch_keeps_its_values_and_types():
    mesh = data_mesh(1)
    batch = {"images": np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), "sizes": np.ones((2, 2), np.int32)}
    parts = put_batch({"inputs": batch, "weights": {"style": np.ones(2, np.float32)}}, mesh)
    assert parts["weights"]["style"].sharding == batch_sharding(mesh)
    placed = put_batch(batch, mesh)
    for name, array in batch.items():
        np.testing.assert_array_equal(parts["inputs"][name], array)
        assert placed[name].dtype == array.dtype
        np.testing.assert_array_equal(placed[name], array)
    assert replicated(mesh).is_fully_replicated
