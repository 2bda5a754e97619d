"""Both implementations of ReLU and depthwise convolution, and their gradients, against independent definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from mtp.ops import depthwise as module

CASES = [(window, stride, side) for window in (3, 5, 7) for stride in (1, 2) for side in ((9, 12), (8, 7))]


def arrays(window, side, channels=4):
    """A canvas of two pictures, one of which fills it, with large numbers outside the other; sizes; kernel."""
    rng = np.random.default_rng(window)
    x = rng.normal(size=(2, *side, channels)).astype(np.float32)
    sizes = np.array([side, (side[0] - 3, side[1] - 2)], np.int32)
    x[1, :3] = x[1, :, :2] = 1e6
    kernel = rng.normal(size=(window, window, channels)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(sizes), jnp.asarray(kernel)


def rectified(x, sizes):
    z = np.maximum(x, 0)
    for picture, (height, width) in zip(z, sizes, strict=True):
        picture[: x.shape[1] - height] = picture[:, : x.shape[2] - width] = 0
    return z


@pytest.mark.parametrize(("window", "stride", "side"), CASES)
def test_equals_scipys_correlation_with_keras_padding(window, stride, side):
    x, sizes, kernel = arrays(window, side)
    ours = module.depthwise(x, sizes, kernel, stride)
    pads = [module.padding(n, window, stride) for n in side]
    z = rectified(x, sizes)
    for b in range(2):
        for c in range(4):
            wide = np.pad(z[b, :, :, c], pads)
            expected = correlate2d(wide, kernel[:, :, c], "valid")[::stride, ::stride]
            np.testing.assert_allclose(ours[b, :, :, c], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("window", "stride", "side"), CASES)
def test_the_accelerators_path_equals_the_cpus_in_value_and_gradient(window, stride, side):
    x, sizes, kernel = arrays(window, side)
    y = module.convolve(x, sizes, kernel, stride)
    np.testing.assert_allclose(module.depthwise(x, sizes, kernel, stride), y, rtol=1e-4, atol=1e-5)
    dy = jnp.asarray(np.random.default_rng(9).normal(size=y.shape), jnp.float32)
    expected = module.convolve_gradients(x, sizes, kernel, dy, stride)
    ours = jax.vjp(lambda a, b: module.depthwise(a, sizes, b, stride), x, kernel)[1](dy)
    for mine, theirs in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9])
def test_strided_windows_are_centred_from_the_end(length):
    """Position n-1, n-3, ... of a side of n, odd or even: a ramp through a centre tap picks them."""
    x, sizes = jnp.arange(1.0, length + 1)[None, :, None, None], jnp.array([[length, 1]])
    tap = jnp.zeros((3, 3, 1)).at[1, 1].set(1.0)
    picked = module.depthwise(x, sizes, tap, 2)[0, :, 0, 0]
    np.testing.assert_array_equal(picked, np.arange(1.0, length + 1)[::-1][::2][::-1])


def test_bfloat16_sums_in_float32():
    x, sizes, kernel = arrays(7, (9, 12))
    half = module.depthwise(x.astype(jnp.bfloat16), sizes, kernel, 1)
    assert half.dtype == jnp.bfloat16
    exact = module.depthwise(x.astype(jnp.bfloat16).astype(jnp.float32), sizes, kernel, 1)
    np.testing.assert_allclose(np.asarray(half, np.float32), exact, rtol=0.01, atol=0.02)
