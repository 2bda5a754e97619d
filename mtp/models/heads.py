"""The columns over the last map and the tasks' own last layers in each (section 3.2, Figs. 3 and 4)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtp import tasks
from mtp.config import Config, ConfigError
from mtp.models.backbone import Levels
from mtp.models.layers import Pointwise
from mtp.ops.canvas import Sizes
from mtp.ops.pyramid import Pool, global_average, global_deviation, spatial_pyramid

Map = Float[Array, "B H W C"]
Logits = dict[str, Float[Array, "B _"]]
Average = Literal["logits", "softmax"]

# a tenth of LeCun's deviation: logits begin near their biases, not as confident guesses to be unlearned first
SMALL = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")


def outputs_of(config: Config, ratings: int, styles: int) -> dict[str, int]:
    """Number of logits of each task of `config.model` for K ratings and S styles; a task that has nothing to learn is
    dropped.

    Errors: ConfigError where that leaves no task.
    """
    outputs = tasks.outputs(tuple(config.tasks), ratings, styles)
    if not outputs:
        raise ConfigError(f"model.tasks must hold a task that the data has labels for; it is {config.tasks}")
    return outputs


def dense_layers(features: Float[Array, "B F"], outputs: Mapping[str, int]) -> Logits:
    """A dense layer a task, under its name. To be called inside a module, whose parameters they join."""
    return {task: nn.Dense(n, kernel_init=SMALL, name=task)(features) for task, n in outputs.items()}


class GapColumn(nn.Module):
    """Global average pooling, then a dense layer a task: the common fixed-size head, but at any size."""

    outputs: Mapping[str, int]

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Logits:
        x = x.astype(jnp.float32)
        features = global_average(x, sizes)
        self.sow("intermediates", "features", features)
        last = {task: nn.Dense(n, kernel_init=SMALL, name=task) for task, n in self.outputs.items()}
        if self.is_mutable_collection("intermediates"):
            # the layer is linear: its average over the cells is the column's logit
            self.sow("intermediates", "cells", {task: dense(x) for task, dense in last.items()})
        return {task: dense(features) for task, dense in last.items()}


class FcnColumn(nn.Module):
    """Fully convolutional column: a hidden 1x1 convolution + ReLU shared by the tasks, then a 1x1 a task.

    hidden: channels of the hidden convolution; 0 leaves it out, and with `average` "logits" the column then
        equals global average pooling and a dense layer.
    average: over the valid cells, of "logits", or of "softmax" (the result is the log of the mean).
    """

    outputs: Mapping[str, int]
    hidden: int = 256
    average: Average = "logits"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Logits:
        if self.hidden:
            x = jax.nn.relu(Pointwise(self.hidden, self.dtype, bias=True, name="hidden")(x))
        cells = {}
        for task, n in self.outputs.items():
            last = Pointwise(n, self.dtype, bias=True, kernel_init=SMALL, name=task)
            cells[task] = last(x).astype(jnp.float32)
        self.sow("intermediates", "cells", cells)
        return {task: self._averaged(each, sizes) for task, each in cells.items()}

    def _averaged(self, cells: Map, sizes: Sizes) -> Float[Array, "B _"]:
        if self.average == "logits":
            return global_average(cells, sizes)
        mean = global_average(jax.nn.softmax(cells), sizes)
        # empty slots average to zero; their logits must stay finite
        return jnp.log(jnp.maximum(mean, jnp.finfo(jnp.float32).tiny))


class SppColumn(nn.Module):
    """Spatial pyramid pooling (26 cells for bins 1, 3, 4), then a dense layer a task."""

    outputs: Mapping[str, int]
    bins: tuple[int, ...] = (1, 3, 4)
    pool: Pool = "max"

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Logits:
        features = spatial_pyramid(x.astype(jnp.float32), sizes, self.bins, self.pool)
        self.sow("intermediates", "features", features)
        return dense_layers(features, self.outputs)


class LevelsColumn(nn.Module):
    """Mean and standard deviation of every channel over the cells of each last level, then a dense layer a task.

    What a trained trunk sees of texture and colour lies in its first levels, what it sees of things in its last ones.
    """

    outputs: Mapping[str, int]

    @nn.compact
    def __call__(self, levels: Levels) -> Logits:
        pooled = [
            pool(x.astype(jnp.float32), sizes)
            for x, sizes in levels
            for pool in (global_average, global_deviation)
        ]
        features = jnp.concatenate(pooled, axis=-1)
        self.sow("intermediates", "features", features)
        return dense_layers(features, self.outputs)


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
    """The columns' parameters with a distribution that begins at this histogram of K ratings for every picture.

    What has no last layer with a bias for it, such as the cascade, stays as it is.
    """
    logits = np.log(np.maximum(np.asarray(histogram, np.float32), 1e-4))

    def started(column: Mapping[str, Any]) -> dict[str, Any]:
        # an array of its own each: they are donated
        return {**column, "distribution": {**column["distribution"], "bias": jnp.array(logits)}}

    return {
        name: started(column) if "bias" in column.get("distribution", {}) else column
        for name, column in columns.items()
    }


def mean_logits(columns: list[Logits]) -> Logits:
    """The columns combined: the mean of their logits, task by task (softmax comes after)."""
    zero = jnp.zeros(())
    return {task: sum((c[task] for c in columns), zero) / len(columns) for task in columns[0]}


@dataclasses.dataclass(frozen=True)
class ColumnOptions:
    """What the columns can be told; each is a field of theirs."""

    fcn_hidden: int = 256
    fcn_average: Average = "logits"
    spp_bins: tuple[int, ...] = (1, 3, 4)
    spp_pool: Pool = "max"
    dtype: DTypeLike = jnp.float32


# by the names of model.columns; called inside a module, whose parameters they join
COLUMNS: Mapping[str, Callable[[Mapping[str, int], ColumnOptions], nn.Module]] = {
    "gap": lambda outputs, o: GapColumn(outputs, name="gap"),
    "fcn": lambda outputs, o: FcnColumn(outputs, o.fcn_hidden, o.fcn_average, o.dtype, name="fcn"),
    "spp": lambda outputs, o: SppColumn(outputs, o.spp_bins, o.spp_pool, name="spp"),
    "levels": lambda outputs, o: LevelsColumn(outputs, name="levels"),
}
# columns that are linear in what they sow as "features"
LINEAR = ("gap", "spp", "levels")


class Columns(nn.Module):
    """All columns over their trunks' levels, and the mean of their logits; all but "levels" see the last map alone.

    cascade: Fig. 3's hierarchy on top.
    """

    columns: tuple[str, ...]
    outputs: Mapping[str, int]
    options: ColumnOptions = ColumnOptions()
    cascade: bool = False

    @nn.compact
    def __call__(self, levels: Mapping[str, Levels]) -> Logits:
        logits = []
        for name in self.columns:
            column = COLUMNS[name](self.outputs, self.options)
            of_levels = isinstance(column, LevelsColumn)
            logits.append(column(levels[name]) if of_levels else column(*levels[name][-1]))
        combined = mean_logits(logits)
        return Cascade(name="cascade")(combined) if self.cascade else combined
