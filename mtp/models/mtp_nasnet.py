"""MTP-NasNet: one trunk on canvases of any size, columns over its last map, three tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mtp import tasks
from mtp.config import Config, ConfigError
from mtp.models import heads
from mtp.models.backbone import Backbone
from mtp.models.backbones import BACKBONES
from mtp.models.heads import ColumnOptions, Columns
from mtp.models.layers import BatchStatistics
from mtp.models.model import Inputs, Logits, Model, Variables, example_canvas


class MTPNasNet(nn.Module):
    """Inputs "images", uint8 canvases (B, H, W, 3), and "sizes" (B, 2) -> logits (B, outputs) of each task, float32.

    outputs: number of outputs of each task: K ratings, 2, S styles.
    trunks: 1, or one for each column.
    Sown as "intermediates": "map" (B, h, w, C) and "map_sizes" (B, 2) of the first trunk, and by the columns that have
    logits of each cell, "cells" (B, h, w, outputs) by task.
    """

    backbone: Backbone
    columns: tuple[str, ...]
    outputs: Mapping[str, int]
    options: ColumnOptions = ColumnOptions()
    cascade: bool = False
    trunks: int = 1
    remat: bool = False

    @nn.compact
    def __call__(self, inputs: Inputs, statistics: BatchStatistics | None = None) -> Logits:
        sizes = inputs["sizes"]
        pixels = self.backbone.pixels(inputs["images"], sizes)
        maps, map_sizes = {}, sizes
        for number, name in enumerate(trunk_names(self.columns, self.trunks)):
            trunk = self.backbone.module(dtype=self.options.dtype, remat=self.remat, name=name)
            x, map_sizes = trunk(pixels, sizes, statistics)
            maps |= dict.fromkeys(self.columns[number:], x)
        self.sow("intermediates", "map", maps[self.columns[0]])
        self.sow("intermediates", "map_sizes", map_sizes)
        return Columns(self.columns, self.outputs, self.options, self.cascade, name="heads")(maps, map_sizes)


def trunk_names(columns: Sequence[str], trunks: int) -> list[str]:
    """The trunks' names among the parameters: the first serves every column that has none of its own."""
    return ["backbone", *(f"backbone_{column}" for column in columns[1:trunks])]


def build(config: Config, ratings: int, styles: int) -> Model:
    """The model of `config.model` for K ratings and S styles; a task that has nothing to learn is dropped.

    Errors: ConfigError where that leaves no task.
    """
    outputs = tasks.outputs(tuple(config.tasks), ratings, styles)
    if not outputs:
        raise ConfigError(f"model.tasks must hold a task that the data has labels for; it is {config.tasks}")
    backbone, names = BACKBONES[config.backbone], trunk_names(config.columns, config.trunks)
    options = ColumnOptions(
        config.fcn_hidden,
        config.fcn_average,
        tuple(config.spp_bins),
        config.spp_pool,
        jnp.dtype(config.dtype),
    )
    module = MTPNasNet(
        backbone,
        tuple(config.columns),
        nn.FrozenDict(outputs),
        options,
        cascade=config.heads == "cascade",
        trunks=config.trunks,
        remat=config.remat,
    )

    def begin(params: Any, histogram: Sequence[float]) -> Any:
        if "distribution" not in outputs:
            return params
        return {**params, "heads": heads.starting_at(params["heads"], histogram)}

    def load(variables: Variables, weights: str) -> Variables:
        params, batch_stats = dict(variables["params"]), dict(variables["batch_stats"])
        for name in names:
            loaded = backbone.load({"params": params[name], "batch_stats": batch_stats[name]}, weights)
            params[name], batch_stats[name] = loaded["params"], loaded["batch_stats"]
        return {"params": params, "batch_stats": batch_stats}

    return Model(
        module=module,
        outputs=outputs,
        example=example_canvas,
        groups={"heads": "heads"} | dict.fromkeys(names, "trunk"),
        min_side=backbone.min_side,
        reads=backbone.reads,
        begin=begin,
        load=load,
    )
