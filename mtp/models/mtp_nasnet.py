"""MTP-NasNet: one trunk on canvases of any size, columns over its last map, three tasks.

Two rows of Table 1 are this network too. The fully convolutional one of reference [7] (SIGIR 2017) is
model.columns=("fcn",). One like SANE (TMM 2018) has two trunks in model.backbone besides, of which the second one is to
be trained on scenes, and model.fcn_hidden=512.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.config import Config, ConfigError
from mtp.data.batches.views import WithAspect
from mtp.models import heads
from mtp.models.backbone import Levels
from mtp.models.heads import ColumnOptions, Columns
from mtp.models.layers import BatchStatistics
from mtp.models.model import Inputs, LastLayers, Logits, Model, Variables, example_canvas, same_view
from mtp.models.trunks import FIRST, Trunks, names_of
from mtp.ops.canvas import masked


class MTPNasNet(nn.Module):
    """Inputs "images", uint8 canvases (B, H, W, 3), and "sizes" (B, 2) -> logits (B, outputs) of each task, float32.

    outputs: number of outputs of each task: K ratings, 2, S styles.
    levels: of each backbone the last ones, which the column `levels` pools.
    sets: of trunks; the first one serves every column that has none of its own.
    aspect: with the input "aspect" (B, 1), ln(width / height) of the pictures as they were; it and its absolute value
    are two more channels of the last map.
    Sown as "intermediates": "map" (B, h, w, C) and "map_sizes" (B, 2) of the first trunk; by the columns that have
    logits of each cell, "cells" (B, h, w, outputs) by task; by those that pool first, "features" (B, F).
    """

    trunks: Trunks
    columns: tuple[str, ...]
    outputs: Mapping[str, int]
    options: ColumnOptions = ColumnOptions()
    cascade: bool = False
    levels: int = 1
    sets: tuple[str, ...] = FIRST
    aspect: bool = False

    @nn.compact
    def __call__(self, inputs: Inputs, statistics: BatchStatistics | None = None) -> Logits:
        found: dict[str, Levels] = {}
        last = self.levels if "levels" in self.columns else 0
        for number, of in enumerate(self.sets):
            levels = self.trunks.levels(inputs["images"], inputs["sizes"], statistics, of, last)
            found |= dict.fromkeys(self.columns[number:], levels)
        x, sizes = found[self.columns[0]][-1]
        self.sow("intermediates", "map", x)
        self.sow("intermediates", "map_sizes", sizes)
        if self.aspect:
            found = {column: with_aspect(levels, inputs["aspect"]) for column, levels in found.items()}
        return Columns(self.columns, self.outputs, self.options, self.cascade, name="heads")(found)


def with_aspect(levels: Levels, aspect: Float[Array, "B 1"]) -> Levels:
    """The levels, with the aspect ratio's logarithm and its absolute value in every cell of the last map."""
    *others, (x, sizes) = levels
    both = jnp.concatenate([aspect, jnp.abs(aspect)], axis=-1).astype(x.dtype)[:, None, None]
    numbers = jnp.broadcast_to(both, (*x.shape[:3], 2))
    return (*others, (jnp.concatenate([x, masked(numbers, sizes)], axis=-1), sizes))


def build(config: Config, ratings: int, styles: int) -> Model:
    """The model of `config.model` for K ratings and S styles; a task that has nothing to learn is dropped.

    Errors: ConfigError where that leaves no task, or the trunks do not go together or with the columns.
    """
    outputs = heads.outputs_of(config, ratings, styles)
    trunks = Trunks.of(config)
    check_levels(names_of(config.backbone), trunks, config.columns)
    sets = ("", *(f"_{column}" for column in config.columns[1 : config.trunks]))
    options = ColumnOptions(
        config.fcn_hidden,
        config.fcn_average,
        tuple(config.spp_bins),
        config.spp_pool,
        jnp.dtype(config.dtype),
    )
    module = MTPNasNet(
        trunks,
        tuple(config.columns),
        nn.FrozenDict(outputs),
        options,
        cascade=config.heads == "cascade",
        levels=config.levels,
        sets=sets,
        aspect=config.aspect,
    )

    def begin(params: Any, histogram: Sequence[float]) -> Any:
        if "distribution" not in outputs:
            return params
        return {**params, "heads": heads.starting_at(params["heads"], histogram)}

    def load(variables: Variables, weights: str) -> Variables:
        return trunks.load(variables, weights, sets)

    def features(variables: Variables, inputs: Inputs) -> Any:
        sown: Any = module.apply(variables, inputs, None, mutable=["intermediates"])[1]
        heads_sown = sown["intermediates"]["heads"]
        return jnp.concatenate([heads_sown[column]["features"][0] for column in config.columns], axis=-1)

    def logits(params: Any, features: Any) -> Logits:
        return of_features(params, features, config.columns)

    def replaced(params: Any, layers: Mapping[str, tuple[Any, Any]]) -> Any:
        return with_last_layers(params, layers, config.columns)

    linear = config.heads == "parallel" and set(config.columns) <= set(heads.LINEAR)
    return Model(
        module=module,
        outputs=outputs,
        example=lambda: (
            {**example_canvas(), "aspect": jnp.zeros((1, 1))} if config.aspect else example_canvas()
        ),
        groups={"heads": "heads"} | trunks.groups(sets),
        min_side=trunks.min_side,
        reads=trunks.reads,
        view=WithAspect if config.aspect else same_view,
        begin=begin,
        load=load,
        last_layers=LastLayers(features, logits, replaced) if linear else None,
    )


def parts_of(params: Any, columns: Sequence[str]) -> list[tuple[str, slice]]:
    """Where the features of each column lie, one column after the other."""
    # not the parameters' own order: what is jitted sorts their names
    widths = [next(iter(params["heads"][name].values()))["kernel"].shape[0] for name in columns]
    ends = [sum(widths[: place + 1]) for place in range(len(widths))]
    return [(name, slice(end - width, end)) for name, width, end in zip(columns, widths, ends, strict=True)]


def of_features(params: Any, features: Float[Array, "B F"], columns: Sequence[str]) -> Logits:
    """Logits of each task: the mean of linear columns' dense layers, each on its own features."""
    of_columns = [
        {
            task: features[:, part] @ dense["kernel"] + dense["bias"]
            for task, dense in params["heads"][name].items()
        }
        for name, part in parts_of(params, columns)
    ]
    return {
        task: jnp.mean(jnp.stack([found[task] for found in of_columns]), axis=0) for task in of_columns[0]
    }


def with_last_layers(params: Any, layers: Mapping[str, tuple[Any, Any]], columns: Sequence[str]) -> Any:
    """Parameters whose columns' mean is one dense layer a task on these columns' features one after the other."""
    replaced = {
        name: {
            task: {
                "kernel": len(columns) * jnp.asarray(kernel[part], jnp.float32),
                "bias": jnp.asarray(bias, jnp.float32),
            }
            for task, (kernel, bias) in layers.items()
        }
        for name, part in parts_of(params, columns)
    }
    return {**params, "heads": replaced}


def check_levels(names: Sequence[str], trunks: Trunks, columns: Sequence[str]) -> None:
    """Errors: ConfigError where a trunk has no levels that the columns ask for."""
    without = [n for n, b in zip(names, trunks.backbones, strict=True) if not b.levels]
    if "levels" in columns and without:
        raise ConfigError(
            f"model.columns=levels needs a trunk that gives its levels; {', '.join(without)} does not"
        )
