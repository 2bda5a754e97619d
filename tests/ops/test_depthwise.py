"""Both implementations of the depthwise convolution, and their gradients, against torch-like definitions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from mtp.ops import depthwise as module

CASES = [(window, stride, side) for window in (3, 5, 7) for stride in (1, 2) for side in ((9, 12), (8, 7))]


def arrays(window, side, channels=4):
    rng = np.random.default_rng(window)
    x = rng.normal(size=(2, *side, channels)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(rng.normal(size=(window, window, channels)).astype(np.float32))


@pytest.mark.parametrize(("window", "stride", "side"), CASES)
def test_equals_scipys_correlation_with_keras_padding(window, stride, side):
    x, kernel = arrays(window, side)
    ours = module.depthwise(x, kernel, stride)
    pads = [module.padding(n, window, stride) for n in side]
    for b in range(2):
        for c in range(4):
            wide = np.pad(x[b, :, :, c], pads)
            expected = correlate2d(wide, kernel[:, :, c], "valid")[::stride, ::stride]
            np.testing.assert_allclose(ours[b, :, :, c], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("window", "stride", "side"), CASES)
def test_the_accelerators_path_equals_the_cpus_in_value_and_gradient(window, stride, side):
    x, kernel = arrays(window, side)
    convolution = partial(module.convolve, stride=stride)
    np.testing.assert_allclose(
        module._shifted_sum(x, kernel, stride), convolution(x, kernel), rtol=1e-4, atol=1e-5
    )
    dy = jnp.asarray(np.random.default_rng(9).normal(size=convolution(x, kernel).shape), jnp.float32)
    expected = jax.vjp(convolution, x, kernel)[1](dy)
    ours = jax.vjp(lambda a, b: module.depthwise(a, b, stride), x, kernel)[1](dy)
    for mine, theirs in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9])
def test_strided_windows_are_centred_from_the_end(length):
    """Position n-1, n-3, ... of a side of n, odd or even: a ramp through a centre tap picks them."""
    x = jnp.arange(1.0, length + 1)[None, :, None, None]
    tap = jnp.zeros((3, 3, 1)).at[1, 1].set(1.0)
    picked = module.depthwise(x, tap, 2)[0, :, 0, 0]
    np.testing.assert_array_equal(picked, np.arange(1.0, length + 1)[::-1][::2][::-1])


def test_bfloat16_sums_in_float32():
    x, kernel = arrays(7, (9, 12))
    half = module.depthwise(x.astype(jnp.bfloat16), kernel, 1)
    assert half.dtype == jnp.bfloat16
    exact = module.depthwise(x.astype(jnp.bfloat16).astype(jnp.float32), kernel, 1)
    np.testing.assert_allclose(np.asarray(half, np.float32), exact, rtol=0.01, atol=0.02)
