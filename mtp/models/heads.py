"""The columns over the last map and the tasks' own last layers in each (section 3.2, Figs. 3 and 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mtp.config import ConfigError
from mtp.models.layers import Pointwise
from mtp.ops.canvas import Sizes
from mtp.ops.pyramid import global_average, spatial_pyramid

Map = Float[Array, "B H W C"]
Logits = dict[str, Float[Array, "B _"]]

# a tenth of LeCun's deviation: logits begin near their biases, not as confident guesses to be unlearned first
FAINT = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")


class GapColumn(nn.Module):
    """Global average pooling, then a dense layer a task: the common fixed-size head, but at any size."""

    outputs: Mapping[str, int]

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Logits:
        features = global_average(x.astype(jnp.float32), sizes)
        return {task: nn.Dense(n, kernel_init=FAINT, name=task)(features) for task, n in self.outputs.items()}


class FcnColumn(nn.Module):
    """Fully convolutional column: a hidden 1x1 convolution + ReLU shared by the tasks, then a 1x1 a task.

    hidden: channels of the hidden convolution; 0 leaves it out, and with `average` "logits" the column then
        equals global average pooling and a dense layer.
    average: over the valid cells, of "logits", or of "softmax" (the result is the log of the mean).
    """

    outputs: Mapping[str, int]
    hidden: int = 256
    average: str = "logits"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Logits:
        if self.average not in ("logits", "softmax"):
            raise ConfigError(f"model.fcn_average must be 'logits' or 'softmax', not {self.average!r}")
        if self.hidden:
            x = jax.nn.relu(Pointwise(self.hidden, self.dtype, bias=True, name="hidden")(x))
        logits = {}
        for task, n in self.outputs.items():
            last = Pointwise(n, self.dtype, bias=True, kernel_init=FAINT, name=task)
            cells = last(x).astype(jnp.float32)
            if self.average == "logits":
                logits[task] = global_average(cells, sizes)
            else:
                mean = global_average(jax.nn.softmax(cells), sizes)
                # empty slots average to zero; their logits must stay finite
                logits[task] = jnp.log(jnp.maximum(mean, jnp.finfo(jnp.float32).tiny))
        return logits


class SppColumn(nn.Module):
    """Spatial pyramid pooling (26 cells for bins 1, 3, 4), then a dense layer a task."""

    outputs: Mapping[str, int]
    bins: tuple[int, ...] = (1, 3, 4)
    pool: str = "max"

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Logits:
        features = spatial_pyramid(x.astype(jnp.float32), sizes, self.bins, self.pool)
        return {task: nn.Dense(n, kernel_init=FAINT, name=task)(features) for task, n in self.outputs.items()}


class Cascade(nn.Module):
    """Fig. 3's hierarchy: the style logits feed the class, and both feed the distribution."""

    @nn.compact
    def __call__(self, logits: Logits) -> Logits:
        logits = dict(logits)
        known: list[Array] = []
        for task in ("style", "two_category", "distribution"):
            if task not in logits:
                continue
            if known:
                simpler = jnp.concatenate(known, axis=-1)
                logits[task] += nn.Dense(logits[task].shape[-1], use_bias=False, name=task)(simpler)
            known.append(logits[task])
        return logits


def starting_at(columns: Mapping[str, Any], histogram: Sequence[float]) -> dict[str, Any]:
    """The columns' parameters with a distribution that begins at this histogram of K ratings for every picture."""
    logits = np.log(np.maximum(np.asarray(histogram, np.float32), 1e-4))

    def started(column: Mapping[str, Any]) -> dict[str, Any]:
        # an array of its own each: they are donated
        return {**column, "distribution": {**column["distribution"], "bias": jnp.array(logits)}}

    return {name: column if name == "cascade" else started(column) for name, column in columns.items()}


def mean_logits(columns: list[Logits]) -> Logits:
    """The columns combined: the mean of their logits, task by task (softmax comes after)."""
    zero = jnp.zeros(())
    return {task: sum((c[task] for c in columns), zero) / len(columns) for task in columns[0]}
