"""NASNet-A (Zoph et al. 2018) on canvases, with the parameter names and values of Keras' NASNet."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtp.models.backbone import Levels
from mtp.models.cells import NORMAL, REDUCTION, Cell, CellTable
from mtp.models.layers import BatchNorm, BatchStatistics, ConvNorm, StemConv
from mtp.models.recompute import applied
from mtp.ops.canvas import Sizes, masked

Map = Float[Array, "B h w C"]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """blocks: normal cells a stage; features: channels C of the last map; stem: channels of the stem.

    older_skip: after a reduction inside the stages the skip input stays the older map (skip_reduction).
    """

    features: int
    blocks: int
    stem: int
    older_skip: bool = False


NASNET_A = {
    "mobile": Architecture(features=1056, blocks=4, stem=32),
    "large": Architecture(features=4032, blocks=6, stem=96, older_skip=True),
    "tiny": Architecture(features=288, blocks=1, stem=16),
}


class Place(NamedTuple):
    """A cell in the network: its table, channels, Keras' name of it, and its skip input.

    skip: index of the map that is its skip input, 0 being the stem's and i the i-th cell's; adjust: see Cell.
    """

    table: CellTable
    features: int
    block: str
    skip: int
    adjust: str


def layout(a: Architecture) -> list[Place]:
    """The cells in order; each one's input is the map before it."""
    width = a.features // 24
    cells: list[Place] = []
    channels = [a.stem]  # of each map

    def add(table: CellTable, features: int, block: str, skip: int, adjust: str) -> None:
        needless = adjust == "project" and channels[skip] == features
        cells.append(Place(table, features, block, skip, "none" if needless else adjust))
        channels.append(len(table.outputs) * features)

    add(REDUCTION, width // 4, "stem_1", 0, "none")
    add(REDUCTION, width // 2, "stem_2", 0, "reduce")
    skip, adjust = 1, "reduce"
    for stage in range(3):
        features = width * 2**stage
        if stage:
            add(REDUCTION, features, f"reduce_{stage * a.blocks}", skip, adjust)
            skip, adjust = skip if a.older_skip else len(cells) - 1, "reduce"
        first = stage * a.blocks + min(stage, 1)  # Keras' numbering
        for i in range(a.blocks):
            add(NORMAL, features, str(first + i), skip, adjust)
            skip, adjust = len(cells) - 1, "project"
    return cells


class NASNet(nn.Module):
    """(B, H, W, 3) in -1..1 and sizes (B, 2) -> the last map (B, h, w, features) after ReLU, and its sizes.

    remat: recompute each cell in the backward pass.
    """

    architecture: Architecture
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    def __call__(
        self, images: Float[Array, "B H W 3"], sizes: Sizes, statistics: BatchStatistics | None = None
    ) -> tuple[Map, Sizes]:
        return self.levels(images, sizes, statistics)[-1]

    @nn.compact
    def levels(
        self, images: Float[Array, "B H W 3"], sizes: Sizes, statistics: BatchStatistics | None = None
    ) -> Levels:
        """The map of the last cell at each resolution, after ReLU; the last one is the last map."""
        conv = StemConv(self.architecture.stem, self.dtype, name="stem_conv1")
        stem = ConvNorm(conv, BatchNorm(self.architecture.stem, name="stem_bn1"))
        maps = [(stem(images, sizes, statistics), conv.out_sizes(sizes))]
        places = layout(self.architecture)
        for place in places:
            (x, sizes), (p, p_sizes) = maps[-1], maps[place.skip]
            cell = Cell(
                place.table, place.features, place.block, place.adjust, self.dtype, name=f"cell_{place.block}"
            )
            y = applied(cell, (x, p), (sizes, p_sizes), statistics, remat=self.remat)
            maps.append((y, cell.out_sizes(sizes)))
        # what a reduction makes smaller, and the last map
        ends = [i for i, place in enumerate(places) if place.table is REDUCTION] + [len(places)]
        return tuple((masked(jax.nn.relu(x), sizes), sizes) for x, sizes in (maps[i] for i in ends))
