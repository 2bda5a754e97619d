"""Pools on canvases: each picture as if alone, alone as Keras does it."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from mtp.ops import pooling
from mtp.ops.depthwise import padding

SIDES = [(1, 1), (2, 5), (5, 4), (6, 6), (7, 3)]


def alone(side, seed=0):
    x = np.random.default_rng(seed).normal(size=(1, *side, 2)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray([side], jnp.int32)


def keras_strided(layer, x):
    pads = [padding(n, 3, 2) for n in x.shape[1:3]]
    return np.asarray(layer((3, 3), 2, "valid")(keras.layers.ZeroPadding2D(pads)(x)))


@pytest.mark.parametrize("side", SIDES)
def test_alone_each_pool_is_keras(side):
    x, sizes = alone(side)
    same = keras.layers.AveragePooling2D((3, 3), 1, "same")(x)
    np.testing.assert_allclose(pooling.average_pool(x, sizes), np.asarray(same), rtol=1e-5, atol=1e-6)
    average = keras_strided(keras.layers.AveragePooling2D, x)
    np.testing.assert_allclose(pooling.strided_average_pool(x, sizes), average, rtol=1e-5, atol=1e-6)
    largest = keras_strided(keras.layers.MaxPooling2D, x)
    np.testing.assert_array_equal(pooling.strided_max_pool(x, sizes), largest)


@pytest.mark.parametrize("side", SIDES[1:])
def test_factorised_paths_sample_from_the_top_left(side):
    x, sizes = alone(side)
    first, second = pooling.factorised_paths(x, sizes)
    z = np.maximum(x, 0)
    np.testing.assert_array_equal(first, z[:, ::2, ::2])
    moved = np.pad(z, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
    np.testing.assert_array_equal(second, moved[:, ::2, ::2])


@pytest.mark.parametrize(
    "pool",
    [pooling.average_pool, pooling.strided_average_pool, pooling.strided_max_pool, pooling.factorised_paths],
)
def test_on_a_canvas_each_picture_is_as_if_alone(pool):
    height, width = 8, 9
    images = np.full((len(SIDES), height, width, 2), 1e6, np.float32)
    for i, (h, w) in enumerate(SIDES):
        images[i, height - h :, width - w :] = alone((h, w), i)[0][0]
    together = pool(jnp.asarray(images), jnp.asarray(SIDES, jnp.int32))
    for i, side in enumerate(SIDES):
        for ours, expected in zip(
            jax.tree.leaves(together), jax.tree.leaves(pool(*alone(side, i))), strict=True
        ):
            h, w = expected.shape[1:3]
            if pool is pooling.factorised_paths:
                expected = expected[0]
                # the borders of these samplings are masked by what follows
                np.testing.assert_allclose(ours[i, ours.shape[1] - h + 1 :, ours.shape[2] - w + 1 :],
                                           expected[1:, 1:])  # fmt: skip
            else:
                np.testing.assert_allclose(
                    ours[i, ours.shape[1] - h :, ours.shape[2] - w :], expected[0], rtol=1e-5, atol=1e-6
                )
