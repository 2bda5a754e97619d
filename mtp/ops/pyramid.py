"""Global and pyramid pooling over the valid cells of each picture."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtp.ops.canvas import Sizes, masked

Pool = Literal["max", "average"]


def global_average(x: Float[Array, "B H W C"], sizes: Sizes) -> Float[Array, "B C"]:
    """Mean over the valid cells; 0 for an empty slot."""
    cells = jnp.maximum(sizes[:, 0] * sizes[:, 1], 1).astype(x.dtype)
    return jnp.sum(masked(x, sizes), axis=(1, 2)) / cells[:, None]


def global_deviation(x: Float[Array, "B H W C"], sizes: Sizes) -> Float[Array, "B C"]:
    """Standard deviation over the valid cells; near 0 for an empty slot."""
    centred = x - global_average(x, sizes)[:, None, None]
    # the root of zero has no gradient
    return jnp.sqrt(global_average(jnp.square(centred), sizes) + 1e-6)


def bin_members(lengths: Array, side: int, bins: int) -> Bool[Array, "B bins side"]:
    """Which positions of a canvas side belong to each bin of a picture's side.

    Bin i of n spans floor(i n / bins) .. ceil((i + 1) n / bins), so that none is empty however short n is
    (neighbours then share positions).
    """
    i = jnp.arange(bins)
    low = (i * lengths[:, None]) // bins
    high = ((i + 1) * lengths[:, None] + bins - 1) // bins
    position = jnp.arange(side) - (side - lengths[:, None])
    inside = (position[:, None, :] >= low[..., None]) & (position[:, None, :] < high[..., None])
    return inside


def _pool_bins(
    x: Float[Array, "B H W C"], sizes: Sizes, bins: int, kind: Pool
) -> Float[Array, "B bins bins C"]:
    rows = bin_members(sizes[:, 0], x.shape[1], bins)
    columns = bin_members(sizes[:, 1], x.shape[2], bins)
    if kind == "average":
        cells = rows.sum(-1)[:, :, None] * columns.sum(-1)[:, None, :]
        total = jnp.einsum("bih,bjw,bhwc->bijc", rows.astype(x.dtype), columns.astype(x.dtype), x)
        return total / jnp.maximum(cells, 1)[..., None].astype(x.dtype)
    lowest = jnp.finfo(x.dtype).min
    by_row = jnp.max(jnp.where(rows[..., None, None], x[:, None], lowest), axis=2)
    pooled = jnp.max(jnp.where(columns[:, None, :, :, None], by_row[:, :, None], lowest), axis=3)
    filled = (sizes.min(axis=1) > 0)[:, None, None, None]
    return jnp.where(filled, pooled, 0)


def spatial_pyramid(
    x: Float[Array, "B H W C"], sizes: Sizes, bins: tuple[int, ...] = (1, 3, 4), kind: Pool = "max"
) -> Float[Array, "B F"]:
    """Spatial pyramid pooling (He et al. 2015; section 3.2): F = C x sum of bins^2, 26 C for bins 1, 3, 4."""
    x = masked(x, sizes)
    levels = [_pool_bins(x, sizes, n, kind) for n in bins]
    return jnp.concatenate([level.reshape(x.shape[0], -1) for level in levels], axis=1)
