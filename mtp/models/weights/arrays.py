"""What the readers of weights share: their error, what they give, and what a number of a network can be."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mtp import files
from mtp.ops.canvas import Sizes
from mtp.ops.pyramid import global_average

IMAGENET = "imagenet"  # as model.weights: the published weights of the backbone


class WeightsError(ValueError):
    """A weights file is missing or does not fit; the message says which array and what to do."""


class Weights(NamedTuple):
    """params and batch_stats of a backbone; top: kernel (C, 1000) and bias (1000,) of the classifier, or None."""

    params: dict[str, Any]
    batch_stats: dict[str, Any]
    top: dict[str, Float[Array, "..."]] | None


def given_file(weights: str, kind: str) -> Path:
    """The file that model.weights names. kind: which there can be. Errors: WeightsError where it is not there."""
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(f"model.weights must be '', '{IMAGENET}' or {kind}; there is no file {weights}")
    return path


def file_origin(weights: str, locate: Callable[[], Path]) -> dict[str, Any]:
    """What results.json says of the loaded weights: the name and SHA-256 of the file that `locate` finds."""
    if not weights:
        return {"weights": "from scratch"}
    path = locate()
    return {"weights": weights, "file": path.name, "sha256": files.sha256(path)}


def imagenet_probabilities(
    x: Float[Array, "B H W C"], sizes: Sizes, top: Mapping[str, Array]
) -> Float[Array, "B 1000"]:
    """The published classifier on a backbone's last map: global average, dense layer, softmax."""
    logits = jnp.matmul(global_average(x, sizes), top["kernel"], precision="highest")
    return jax.nn.softmax(logits + top["bias"])


def numbers(values: np.ndarray, name: str, where: str) -> np.ndarray:
    """float32. Errors: WeightsError where a number cannot be one of a network's."""
    if not np.issubdtype(values.dtype, np.floating):
        raise WeightsError(f"{where} must hold floating-point numbers, not {values.dtype}")
    with np.errstate(over="ignore"):  # to infinity, which is refused
        found = values.astype(np.float32)
    wrong = int((~np.isfinite(found)).sum())
    if wrong:
        raise WeightsError(f"{where}: {wrong} of {found.size} numbers are not finite; fetch the file again")
    if name == "moving_variance" and (found < 0).any():
        raise WeightsError(f"{where}: a variance is negative; fetch the file again")
    return found
