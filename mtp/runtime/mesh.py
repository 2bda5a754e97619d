"""Devices and where arrays lie on them."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mtp.config import ConfigError


def data_mesh(devices: int = 0) -> Mesh:
    """A mesh with the one axis "data" over the first `devices` devices; 0: all.

    The axis is of type Auto: under Explicit a sharded batch can be neither gathered nor sorted.
    Errors: ConfigError where there are fewer devices.
    """
    found = jax.devices()
    if not 0 <= devices <= len(found):
        raise ConfigError(
            f"run.devices must be 0 (all) to {len(found)}, the number of devices here ({found[0].platform}); "
            f"{devices} came. Lower it, or start where there are more."
        )
    chosen = np.array(found[: devices or len(found)])
    return Mesh(chosen, ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Each device holds its share of the first axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """The batch, arrays by name or by part and name, on the devices; every array split along its first axis of B.

    Errors: ValueError where the batch does not divide by the number of devices.
    """
    slots = len(jax.tree.leaves(batch)[0])
    if slots % mesh.size:
        raise ValueError(
            f"a batch must divide evenly over the devices; {slots} pictures came for {mesh.size} devices. "
            "Make input.batch_size a multiple of the devices, or lower run.devices."
        )
    return jax.device_put(dict(batch), batch_sharding(mesh))


def replicated_shapes(tree: Any, mesh: Mesh) -> Any:
    """Shapes and types of a tree's arrays, as they lie when every device holds them whole."""
    place = replicated(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)
