"""MTP-NasNet: one trunk on canvases of any size, columns over its last map, three tasks."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mtp import tasks
from mtp.config import Config, ConfigError
from mtp.models import heads
from mtp.models.backbone import Backbone
from mtp.models.backbones import BACKBONES
from mtp.models.heads import ColumnOptions, Columns, Levels
from mtp.models.layers import BatchStatistics
from mtp.models.model import Inputs, LastLayers, Logits, Model, Variables, example_canvas


class MTPNasNet(nn.Module):
    """Inputs "images", uint8 canvases (B, H, W, 3), and "sizes" (B, 2) -> logits (B, outputs) of each task, float32.

    outputs: number of outputs of each task: K ratings, 2, S styles.
    backbones: several see the pictures side by side, and their last maps' channels are one map's.
    levels: of each backbone the last ones, which the column `levels` pools.
    trunks: 1, or one for each column.
    Sown as "intermediates": "map" (B, h, w, C) and "map_sizes" (B, 2) of the first trunk; by the columns that have
    logits of each cell, "cells" (B, h, w, outputs) by task; by those that pool first, "features" (B, F).
    """

    backbones: tuple[Backbone, ...]
    columns: tuple[str, ...]
    outputs: Mapping[str, int]
    options: ColumnOptions = ColumnOptions()
    cascade: bool = False
    levels: int = 1
    trunks: int = 1
    remat: bool = False

    @nn.compact
    def __call__(self, inputs: Inputs, statistics: BatchStatistics | None = None) -> Logits:
        found: dict[str, Levels] = {}
        for number, names in enumerate(trunk_names(self.backbones, self.columns, self.trunks)):
            trunks = [
                self._levels(*each, inputs, statistics) for each in zip(self.backbones, names, strict=True)
            ]
            found |= dict.fromkeys(self.columns[number:], side_by_side(trunks))
        x, sizes = found[self.columns[0]][-1]
        self.sow("intermediates", "map", x)
        self.sow("intermediates", "map_sizes", sizes)
        return Columns(self.columns, self.outputs, self.options, self.cascade, name="heads")(found)

    def _levels(
        self, backbone: Backbone, name: str, inputs: Inputs, statistics: BatchStatistics | None
    ) -> Levels:
        trunk = backbone.module(dtype=self.options.dtype, remat=self.remat, name=name)
        given = backbone.pixels(inputs["images"], inputs["sizes"]), inputs["sizes"], statistics
        return trunk.levels(*given)[-self.levels :] if "levels" in self.columns else (trunk(*given),)


def side_by_side(trunks: Sequence[Levels]) -> Levels:
    """The levels of several trunks, with their last maps, which are of one size, as one."""
    (*_, (_, sizes)), *_ = trunks
    last = jnp.concatenate([levels[-1][0] for levels in trunks], axis=-1)
    return (*(level for levels in trunks for level in levels[:-1]), (last, sizes))


def trunk_names(backbones: Sequence[Backbone], columns: Sequence[str], trunks: int) -> list[list[str]]:
    """The trunks' names among the parameters, of all backbones: the first ones serve every column that has none of its
    own.
    """
    several = [""] if len(backbones) == 1 else [f"_{number}" for number in range(1, len(backbones) + 1)]
    return [[f"backbone{of}{each}" for each in several] for of in ("", *(f"_{c}" for c in columns[1:trunks]))]


def build(config: Config, ratings: int, styles: int) -> Model:
    """The model of `config.model` for K ratings and S styles; a task that has nothing to learn is dropped.

    Errors: ConfigError where that leaves no task.
    """
    outputs = tasks.outputs(tuple(config.tasks), ratings, styles)
    if not outputs:
        raise ConfigError(f"model.tasks must hold a task that the data has labels for; it is {config.tasks}")
    chosen = names_of(config.backbone)
    backbones = tuple(BACKBONES[name] for name in chosen)
    check_together(chosen, backbones, config.columns)
    names = trunk_names(backbones, config.columns, config.trunks)
    options = ColumnOptions(
        config.fcn_hidden,
        config.fcn_average,
        tuple(config.spp_bins),
        config.spp_pool,
        jnp.dtype(config.dtype),
    )
    module = MTPNasNet(
        backbones,
        tuple(config.columns),
        nn.FrozenDict(outputs),
        options,
        cascade=config.heads == "cascade",
        levels=config.levels,
        trunks=config.trunks,
        remat=config.remat,
    )

    def begin(params: Any, histogram: Sequence[float]) -> Any:
        if "distribution" not in outputs:
            return params
        return {**params, "heads": heads.starting_at(params["heads"], histogram)}

    def load(variables: Variables, weights: str) -> Variables:
        params, batch_stats = dict(variables["params"]), dict(variables["batch_stats"])
        for backbone, name in (
            (b, name) for of_column in names for b, name in zip(backbones, of_column, strict=True)
        ):
            loaded = backbone.load({"params": params[name], "batch_stats": batch_stats[name]}, weights)
            params[name], batch_stats[name] = loaded["params"], loaded["batch_stats"]
        return {"params": params, "batch_stats": batch_stats}

    def features(variables: Variables, inputs: Inputs) -> Any:
        sown: Any = module.apply(variables, inputs, None, mutable=["intermediates"])[1]
        heads_sown = sown["intermediates"]["heads"]
        return jnp.concatenate([heads_sown[column]["features"][0] for column in config.columns], axis=-1)

    def replaced(params: Any, layers: Mapping[str, tuple[Any, Any]]) -> Any:
        return with_last_layers(params, layers, config.columns)

    linear = config.heads == "parallel" and set(config.columns) <= set(heads.LINEAR)
    return Model(
        module=module,
        outputs=outputs,
        example=example_canvas,
        groups={"heads": "heads"} | dict.fromkeys(itertools.chain(*names), "trunk"),
        min_side=max(backbone.min_side for backbone in backbones),
        reads=backbones[0].reads,
        begin=begin,
        load=load,
        last_layers=LastLayers(features, replaced) if linear else None,
    )


def with_last_layers(params: Any, layers: Mapping[str, tuple[Any, Any]], columns: Sequence[str]) -> Any:
    """Parameters whose columns' mean is one dense layer a task on these columns' features one after the other."""
    replaced, first = {}, 0
    # not the parameters' own order: what is jitted sorts their names
    for name in columns:
        width = next(iter(params["heads"][name].values()))["kernel"].shape[0]
        part = slice(first, first + width)
        replaced[name] = {
            task: {
                "kernel": len(columns) * jnp.asarray(kernel[part], jnp.float32),
                "bias": jnp.asarray(bias, jnp.float32),
            }
            for task, (kernel, bias) in layers.items()
        }
        first += width
    return {**params, "heads": replaced}


def names_of(backbone: str | Sequence[str]) -> tuple[str, ...]:
    """Of model.backbone, which is a name or several."""
    return (backbone,) if isinstance(backbone, str) else tuple(backbone)


def check_together(names: Sequence[str], backbones: Sequence[Backbone], columns: Sequence[str]) -> None:
    """Errors: ConfigError where they cannot see a picture side by side, or have no levels that the columns ask for."""
    if len({(backbone.stride, backbone.reads) for backbone in backbones}) > 1:
        raise ConfigError(
            f"several trunks of model.backbone must read the same lines of a picture at one stride; {', '.join(names)} "
            "do not"
        )
    without = [n for n, b in zip(names, backbones, strict=True) if not b.levels]
    if "levels" in columns and without:
        raise ConfigError(
            f"model.columns=levels needs a trunk that gives its levels; {', '.join(without)} does not"
        )


def origin(config: Config) -> dict[str, Any]:
    """What results.json says of the loaded weights of `config.model`."""
    found = {name: BACKBONES[name].origin(config.weights) for name in names_of(config.backbone)}
    return next(iter(found.values())) if len(found) == 1 else found
