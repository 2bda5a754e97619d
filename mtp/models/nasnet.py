"""NASNet-A (Zoph et al. 2018) on canvases, with the parameter names and values of Keras' NASNet."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.models.cells import NORMAL, REDUCTION, Cell
from mtp.models.layers import BatchNorm, BatchStatistics
from mtp.ops.canvas import Sizes, halved_sizes, masked, stem_sizes

Map = Float[Array, "B H W C"]


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


class NASNet(nn.Module):
    """(B, H, W, 3) in -1..1 and sizes (B, 2) -> the last map (B, h, w, features) after ReLU, and its sizes.

    remat: recompute each cell in the backward pass.
    """

    architecture: Architecture
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array, "B H W 3"], sizes: Sizes, statistics: BatchStatistics | None = None
    ) -> tuple[Map, Sizes]:
        a, width = self.architecture, self.architecture.features // 24
        cell = nn.remat(Cell) if self.remat else Cell

        x = nn.Conv(a.stem, (3, 3), 2, "VALID", use_bias=False, dtype=self.dtype, name="stem_conv1")(images)
        sizes = stem_sizes(sizes)
        x = BatchNorm(name="stem_bn1")(x, sizes, statistics)
        # p is the skip input: the map of the cell before the last one
        p, p_sizes, adjust = x, sizes, "none"
        for block, features in (("stem_1", width // 4), ("stem_2", width // 2)):
            y = cell(REDUCTION, features, block, adjust, self.dtype, name=f"cell_{block}")(
                x, p, sizes, p_sizes, statistics
            )
            x, p, sizes, p_sizes, adjust = y, x, halved_sizes(sizes), sizes, "reduce"

        for stage in range(3):
            first = stage * a.blocks + min(stage, 1)  # Keras' numbering
            if stage:
                block = f"reduce_{stage * a.blocks}"
                y = cell(REDUCTION, width * 2**stage, block, adjust, self.dtype, name=f"cell_{block}")(
                    x, p, sizes, p_sizes, statistics
                )
                p, p_sizes = (p, p_sizes) if a.older_skip else (x, sizes)
                x, sizes, adjust = y, halved_sizes(sizes), "reduce"
            for i in range(a.blocks):
                block = str(first + i)
                y = cell(NORMAL, width * 2**stage, block, adjust, self.dtype, name=f"cell_{block}")(
                    x, p, sizes, p_sizes, statistics
                )
                x, p, p_sizes, adjust = y, x, sizes, "project"
        return masked(jax.nn.relu(x), sizes), sizes
