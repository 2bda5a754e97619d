"""MTP-NasNet: one trunk on canvases of any size, columns over its last map, three tasks."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from mtp.config import Config, ConfigError
from mtp.models.heads import Cascade, FcnColumn, GapColumn, Logits, SppColumn, mean_logits
from mtp.models.layers import BatchStatistics
from mtp.models.nasnet import NASNET_A, NASNet
from mtp.ops.canvas import Sizes, to_float

TASKS = ("distribution", "two_category", "style")
COLUMNS = ("gap", "fcn", "spp")


class Columns(nn.Module):
    """All columns over their maps; `maps` holds the map that each column sees."""

    config: Any
    outputs: Mapping[str, int]

    @nn.compact
    def __call__(self, maps: Mapping[str, Float[Array, "B H W C"]], sizes: Sizes) -> Logits:
        c, logits = self.config, []
        for column in c.columns:
            x = maps[column]
            match column:
                case "gap":
                    logits.append(GapColumn(self.outputs, name="gap")(x, sizes))
                case "fcn":
                    dtype = jnp.dtype(c.dtype)
                    fcn = FcnColumn(self.outputs, c.fcn_hidden, c.fcn_average, dtype, name="fcn")
                    logits.append(fcn(x, sizes))
                case "spp":
                    spp = SppColumn(self.outputs, tuple(c.spp_bins), c.spp_pool, name="spp")
                    logits.append(spp(x, sizes))
        combined = mean_logits(logits)
        return Cascade(name="cascade")(combined) if c.heads == "cascade" else combined


class MTPNasNet(nn.Module):
    """uint8 canvases (B, H, W, 3) and sizes (B, 2) -> logits (B, outputs) of each task, float32.

    config: `model` of the configuration, frozen.
    outputs: number of outputs of each task: K ratings, 2, S styles.
    """

    config: Any
    outputs: Mapping[str, int]

    @nn.compact
    def __call__(
        self, images: UInt8[Array, "B H W 3"], sizes: Sizes, statistics: BatchStatistics | None = None
    ) -> Logits:
        c = self.config
        pixels = to_float(images, sizes)
        maps, map_sizes = {}, sizes
        for trunk in range(c.trunks):
            name = "backbone" if trunk == 0 else f"backbone_{c.columns[trunk]}"
            dtype = jnp.dtype(c.dtype)
            backbone = NASNet(NASNET_A[c.backbone], dtype, c.remat, name=name)
            x, map_sizes = backbone(pixels, sizes, statistics)
            maps |= dict.fromkeys(c.columns[trunk:], x)
        return Columns(c, self.outputs, name="heads")(maps, map_sizes)


def build(config: Config, ratings: int, styles: int) -> MTPNasNet:
    """The model of `config.model` for K ratings and S styles; the style task is dropped where S is 0.

    Errors: ConfigError on an unknown backbone, column or task, saying which exist.
    """
    sizes = {"distribution": ratings, "two_category": 2, "style": styles}
    _check(config)
    outputs = {task: sizes[task] for task in config.tasks if sizes[task]}
    return MTPNasNet(config.copy_and_resolve_references().lock(), nn.FrozenDict(outputs))


def _check(config: Config) -> None:
    if config.backbone not in NASNET_A:
        raise ConfigError(f"model.backbone must be one of {', '.join(NASNET_A)}, not {config.backbone!r}")
    for option, known in (("columns", COLUMNS), ("tasks", TASKS)):
        unknown = set(config[option]) - set(known)
        if unknown or not config[option]:
            raise ConfigError(
                f"model.{option} must be one or more of {', '.join(known)}, not {config[option]}"
            )
    if "distribution" not in config.tasks:
        raise ConfigError(f"model.tasks must contain distribution, the core task; it is {config.tasks}")
    if config.trunks not in (1, len(config.columns)):
        raise ConfigError(
            f"model.trunks must be 1, or {len(config.columns)} to give each column of {config.columns} "
            f"a trunk of its own; it is {config.trunks}"
        )
    if config.heads not in ("parallel", "cascade"):
        raise ConfigError(f"model.heads must be 'parallel' or 'cascade', not {config.heads!r}")


def probabilities(logits: Logits, style_kind: str = "softmax") -> dict[str, Array]:
    """Logits to the distribution over ratings (B, K), p(high) (B,) and style probabilities (B, S).

    style_kind: "softmax" for styles that exclude one another, "sigmoid" for several a picture.
    """
    result = {"distribution": jax.nn.softmax(logits["distribution"])}
    if "two_category" in logits:
        result["p_high"] = jax.nn.softmax(logits["two_category"])[:, 1]
    if "style" in logits:
        activation = jax.nn.softmax if style_kind == "softmax" else jax.nn.sigmoid
        result["style"] = activation(logits["style"])
    return result
