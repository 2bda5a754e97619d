"""Placement, sizes, masks."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtp.ops.canvas import halved_sizes, masked, stem_sizes, to_float, valid_mask


def test_sizes_of_a_224_pixel_side():
    sizes = [stem_sizes(jnp.full((1, 2), 224, jnp.int32))]
    for _ in range(4):
        sizes.append(halved_sizes(sizes[-1]))
    assert [int(s[0, 0]) for s in sizes] == [111, 56, 28, 14, 7]


@pytest.mark.parametrize("side", range(32, 50))
def test_an_even_sides_last_line_is_never_read(side):
    odd = side - 1 + side % 2
    sizes = jnp.array([[side, odd]], jnp.int32)
    assert stem_sizes(sizes)[0, 0] == stem_sizes(sizes)[0, 1]


def test_an_empty_slot_stays_empty():
    nothing = jnp.zeros((1, 2), jnp.int32)
    assert (stem_sizes(nothing) == 0).all() and (halved_sizes(nothing) == 0).all()
    assert not valid_mask(nothing, 4, 5).any()


def test_pictures_lie_in_the_bottom_right_corner():
    mask = valid_mask(jnp.array([[2, 3], [4, 1]], jnp.int32), 4, 5)[..., 0]
    expected = np.zeros((2, 4, 5), bool)
    expected[0, 2:, 2:] = expected[1, :, 4:] = True
    np.testing.assert_array_equal(mask, expected)


def test_masked_forgets_even_what_is_not_a_number():
    x = jnp.full((1, 3, 3, 2), jnp.nan).at[:, 1:, 1:].set(2.0)
    inside = masked(x, jnp.array([[2, 2]], jnp.int32))
    assert jnp.isfinite(inside).all() and float(inside.sum()) == 16


def test_pixels_are_keras_mode_tf_and_outside_is_zero_not_black():
    images = jnp.asarray(np.array([0, 255, 51], np.uint8).reshape(1, 1, 3, 1).repeat(3, axis=3))
    values = to_float(images, jnp.array([[1, 2]], jnp.int32))
    np.testing.assert_allclose(values[0, 0, :, 0], [0, 1, -0.6], rtol=1e-6)
