"""Layers that change a map's resolution or smooth it: NASNet's average pools and its factorised reduction."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.models.layers import BatchNorm, BatchStatistics, Projection
from mtp.ops import pooling
from mtp.ops.canvas import Sizes, halved_sizes

Map = Float[Array, "B H W C"]
Halved = Float[Array, "B h w C"]
Reduced = Float[Array, "B h w F"]


class AveragePool(nn.Module):
    """3x3, stride 1; each mean is over the positions inside the picture."""

    def __call__(self, x: Map, sizes: Sizes) -> Map:
        return pooling.average_pool(x, sizes)


class StridedAveragePool(nn.Module):
    """3x3, stride 2; the zeros around a picture count."""

    def __call__(self, x: Map, sizes: Sizes) -> Halved:
        return pooling.strided_average_pool(x, sizes)


class FactorisedReduction(nn.Module):
    """Half resolution without losing a cell: two samplings, a projection of each, and one batch norm of both.

    The projections have half the channels each; they and the norm belong to the module that makes them.
    """

    projections: tuple[Projection, Projection]
    norm: BatchNorm

    def paths(self, x: Map, sizes: Sizes) -> tuple[Halved, Halved]:
        """max(x, 0) at every second cell, and at those diagonally behind."""
        return pooling.factorised_paths(x, sizes)

    def __call__(self, x: Map, sizes: Sizes, statistics: BatchStatistics | None) -> Reduced:
        half = halved_sizes(sizes)
        pairs = zip(self.projections, self.paths(x, sizes), strict=True)
        halves = [projection(path, half) for projection, path in pairs]
        return self.norm(jnp.concatenate(halves, axis=-1), half, statistics)
