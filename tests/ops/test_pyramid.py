"""Global and pyramid pooling over valid cells."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtp.ops.pyramid import bin_members, global_average, spatial_pyramid


def by_hand(x, bins, reduce):
    """Loops over the bins of one picture (h, w, C)."""
    h, w, _ = x.shape
    cells = []
    for n in bins:
        for i in range(n):
            for j in range(n):
                rows = slice(i * h // n, -(-(i + 1) * h // n))
                columns = slice(j * w // n, -(-(j + 1) * w // n))
                cells.append(reduce(x[rows, columns], axis=(0, 1)))
    return np.concatenate(cells)


@pytest.mark.parametrize(("kind", "reduce"), [("max", np.max), ("average", np.mean)])
def test_bins_of_each_pictures_own_size(kind, reduce):
    sides = [(1, 1), (2, 5), (7, 4), (8, 9)]
    rng = np.random.default_rng(0)
    canvases = rng.normal(size=(4, 8, 9, 3)).astype(np.float32) + 50
    pictures = [canvases[i, 8 - h :, 9 - w :] for i, (h, w) in enumerate(sides)]
    ours = spatial_pyramid(jnp.asarray(canvases), jnp.asarray(sides, jnp.int32), (1, 3, 4), kind)
    assert ours.shape == (4, 26 * 3)
    for mine, picture in zip(ours, pictures, strict=True):
        np.testing.assert_allclose(mine, by_hand(picture, (1, 3, 4), reduce), rtol=1e-5)


def test_negative_maps_keep_their_largest_value():
    x = -jnp.ones((1, 4, 4, 1))
    np.testing.assert_array_equal(spatial_pyramid(x, jnp.array([[2, 2]], jnp.int32)), -1)


@pytest.mark.parametrize("length", range(1, 12))
def test_no_bin_is_empty_and_all_cells_belong_to_one(length):
    for bins in (1, 3, 4):
        members = np.asarray(bin_members(jnp.array([length]), 12, bins))[0]
        assert members.any(axis=1).all()
        np.testing.assert_array_equal(members.any(axis=0), np.arange(12) >= 12 - length)


def test_global_average_counts_valid_cells_only():
    x = jnp.full((2, 4, 5, 1), 100.0).at[0, 2:, 3:].set(3.0)
    average = global_average(x, jnp.array([[2, 2], [0, 0]], jnp.int32))
    np.testing.assert_array_equal(average[:, 0], [3, 0])
