"""The stem's convolution as a product of matrices equals XLA's, in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.ops import stem


@pytest.mark.parametrize("side", [(3, 3), (8, 11), (21, 6)])
def test_both_implementations_are_the_same(side):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(2, *side, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3, 8)), jnp.float32)
    expected, expected_back = jax.vjp(stem.convolve, images, kernel)
    ours, back = jax.vjp(stem.multiply_patches, images, kernel)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
    dy = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)
    for mine, theirs in zip(back(dy), expected_back(dy), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(stem.stem(images, kernel), ours)
