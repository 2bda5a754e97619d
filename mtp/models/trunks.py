"""The trunks of a network: chosen by model.backbone, named among its parameters, applied, grouped and loaded."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from mtp.config import Config, ConfigError
from mtp.models.backbone import Backbone, Levels
from mtp.models.backbones import BACKBONES
from mtp.models.layers import BatchStatistics
from mtp.models.model import PictureSizes, Variables
from mtp.ops.canvas import Sizes

FIRST = ("",)  # the only set of trunks of most networks


@dataclasses.dataclass(frozen=True)
class Trunks:
    """The backbones of model.backbone side by side: they see the same pictures, and their last maps' channels are one
    map's.

    A network may have several sets of them, each with weights of its own, which a suffix tells apart: the parameters of
    the set "" are named backbone, or backbone_1, backbone_2, ... where several stand side by side; those of "_spp"
    backbone_spp, or backbone_spp_1, ...
    """

    backbones: tuple[Backbone, ...]
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @classmethod
    def of(cls, config: Config) -> "Trunks":
        """Of `config.model`. Errors: ConfigError where the backbones cannot see a picture side by side."""
        names = names_of(config.backbone)
        backbones = tuple(BACKBONES[name] for name in names)
        if len({(backbone.stride, backbone.reads) for backbone in backbones}) > 1:
            raise ConfigError(
                "several trunks of model.backbone must read the same lines of a picture at one stride; "
                f"{', '.join(names)} do not"
            )
        return cls(backbones, jnp.dtype(config.dtype), config.remat)

    @property
    def channels(self) -> int:
        """Of the map that they make together."""
        return sum(backbone.channels for backbone in self.backbones)

    @property
    def min_side(self) -> int:
        """Pixels; a shorter side leaves one of them no cell."""
        return max(backbone.min_side for backbone in self.backbones)

    @property
    def reads(self) -> Callable[[PictureSizes], PictureSizes]:
        """Sizes (N, 2) of pictures -> the lines that they read."""
        return self.backbones[0].reads

    def names(self, of: str = "") -> list[str]:
        """Of a set's parameters, one a backbone."""
        if len(self.backbones) == 1:
            return [f"backbone{of}"]
        return [f"backbone{of}_{number}" for number in range(1, len(self.backbones) + 1)]

    def groups(self, sets: Sequence[str] = FIRST) -> dict[str, str]:
        """The optimiser's group of each trunk's parameters (`Model.groups`)."""
        return dict.fromkeys(itertools.chain(*map(self.names, sets)), "trunk")

    def map(
        self,
        images: UInt8[Array, "B H W 3"],
        sizes: Sizes,
        statistics: BatchStatistics | None,
        of: str = "",
    ) -> tuple[Float[Array, "B h w C"], Sizes]:
        """Canvases to the last map of a set and its sizes. To be called inside a module, whose parameters they join."""
        return self.levels(images, sizes, statistics, of)[-1]

    def levels(
        self,
        images: UInt8[Array, "B H W 3"],
        sizes: Sizes,
        statistics: BatchStatistics | None,
        of: str = "",
        last: int = 0,
    ) -> Levels:
        """As `map`, with the `last` levels of each trunk but its last map in front; 0: the last map alone."""
        found: list[Levels] = []
        for backbone, name in zip(self.backbones, self.names(of), strict=True):
            trunk = backbone.module(dtype=self.dtype, remat=self.remat, name=name)
            given = backbone.pixels(images, sizes), sizes, statistics
            found.append(trunk.levels(*given)[-last:] if last else (trunk(*given),))
        return side_by_side(found)

    def load(self, variables: Variables, weights: str, sets: Sequence[str] = FIRST) -> Variables:
        """Variables with published weights in every trunk of these sets.

        Errors: WeightsError where the weights are missing or do not fit.
        """
        params, batch_stats = dict(variables["params"]), dict(variables["batch_stats"])
        for of in sets:
            for backbone, name in zip(self.backbones, self.names(of), strict=True):
                loaded = backbone.load({"params": params[name], "batch_stats": batch_stats[name]}, weights)
                params[name], batch_stats[name] = loaded["params"], loaded["batch_stats"]
        return {"params": params, "batch_stats": batch_stats}


def side_by_side(trunks: Sequence[Levels]) -> Levels:
    """The levels of several trunks, with their last maps, which are of one size, as one."""
    if len(trunks) == 1:
        return trunks[0]
    (*_, (_, sizes)), *_ = trunks
    last = jnp.concatenate([levels[-1][0] for levels in trunks], axis=-1)
    return (*(level for levels in trunks for level in levels[:-1]), (last, sizes))


def names_of(backbone: str | Sequence[str]) -> tuple[str, ...]:
    """Of model.backbone, which is a name or several."""
    return (backbone,) if isinstance(backbone, str) else tuple(backbone)


def origin(config: Config) -> dict[str, Any]:
    """What results.json says of the loaded weights of `config.model`."""
    found = {name: BACKBONES[name].origin(config.weights) for name in names_of(config.backbone)}
    return next(iter(found.values())) if len(found) == 1 else found
