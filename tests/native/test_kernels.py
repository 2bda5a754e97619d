"""The native kernels against a definition in float64, the plain operations, and themselves on one thread."""

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.native import fused, operations
from mtp.native import library as native
from mtp.native.fused import Expansion, Layer, Residual, Sum
from mtp.ops import batch_norm, pooling
from mtp.ops import depthwise as plain
from mtp.ops.batch_norm import Running
from mtp.runtime.settings import compiler_options

ROOT = Path(__file__).parents[2]
WINDOWS_AND_STRIDES = list(itertools.product((3, 5, 7), (1, 2)))
SIDES_AND_BATCHES = (((1, 1), 1), ((1, 5), 3), ((2, 1), 3), ((9, 12), 1), ((8, 7), 3), ((21, 4), 1))
CHANNELS = (1, 11, 22, 44, 100)


def arrays(window, stride, side, batch, channels):
    """x, sizes, kernel, dy; the first picture fills its slot, the last is much smaller."""
    rng = np.random.default_rng(window * 1000 + channels)
    small = [-(-n // stride) for n in side]
    shapes = ((batch, *side, channels), (window, window, channels), (batch, *small, channels))
    x, kernel, dy = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return x, sizes_of(batch, side), kernel, dy


def sizes_of(batch, side):
    shares = np.linspace(1, 0.3, batch)[:, None]
    return np.ceil(shares * side).astype(np.int32).reshape(batch, 2)


def results(depthwise, case, stride):
    """The value and the gradients by x and by the kernel."""
    x, sizes, k, dy = map(jnp.asarray, case)
    y, pull_back = jax.vjp(lambda a, b: depthwise(a, sizes, b, stride), x, k)
    return y, *pull_back(dy)


def inside(x, sizes):
    rows = np.arange(x.shape[1]) >= x.shape[1] - sizes[:, :1]
    columns = np.arange(x.shape[2]) >= x.shape[2] - sizes[:, 1:]
    return (rows[:, :, None] & columns[:, None])[..., None]


def defined(x, sizes, k, dy, stride):
    """The same three in float64, one tap after the other."""
    window, (height, width), (h, w) = len(k), x.shape[1:3], dy.shape[1:3]
    rows, columns = plain.padding(height, window, stride), plain.padding(width, window, stride)
    positive = inside(x, sizes) & (x > 0)
    z = np.where(positive, x, 0).astype(np.float64)
    wide = np.pad(z, ((0, 0), rows, columns, (0, 0)))
    y, dz, dk = np.zeros(dy.shape), np.zeros(wide.shape), np.zeros(k.shape)
    for i, j in np.ndindex(window, window):
        under = np.s_[:, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
        y += wide[under] * k[i, j]
        dz[under] += dy * k[i, j]
        dk[i, j] = np.sum(wide[under] * dy, axis=(0, 1, 2))
    return y, dz[:, rows[0] : rows[0] + height, columns[0] : columns[0] + width] * positive, dk


def assert_close(ours, expected):
    for mine, theirs in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * max(np.abs(theirs).max(), 1e-3))


@pytest.mark.parametrize(("window", "stride"), WINDOWS_AND_STRIDES)
def test_value_and_gradients_equal_the_definition(kernels, window, stride):
    cases = [arrays(window, stride, *where, c) for where in SIDES_AND_BATCHES for c in CHANNELS]
    ours = jax.jit(lambda cases: [results(operations.depthwise, case, stride) for case in cases])(cases)
    for case, mine in zip(cases, ours, strict=True):
        assert_close(mine, defined(*case, stride))


@pytest.mark.parametrize(("window", "stride"), WINDOWS_AND_STRIDES)
def test_value_and_gradients_equal_the_plain_path(kernels, window, stride):
    case = arrays(window, stride, (40, 35), 3, 22)  # several tiles a picture
    assert_close(results(operations.depthwise, case, stride), results(plain.depthwise, case, stride))


def normalised(by_batch):
    """Batch norm as a function of x and sizes alone."""

    def of(x, sizes):
        channels = x.shape[-1]
        running = Running(jnp.zeros(channels), jnp.ones(channels), False)
        return by_batch(x, sizes, jnp.linspace(0.5, 2, channels), jnp.zeros(channels), running, 1e-3)

    return of


# the kernel and the plain operation
OTHERS = {
    "batch norm": tuple(map(normalised, (operations.normalised, batch_norm.normalised))),
    "window sums": tuple(lambda x, sizes, m=m: m.window_sums(x, sizes, 1) for m in (operations, pooling)),
    "strided window sums": tuple(
        lambda x, sizes, m=m: m.window_sums(x, sizes, 2) for m in (operations, pooling)
    ),
    "factorised paths": (operations.factorised_paths, pooling.factorised_paths),
}


def other_results(operation, cases):
    """Values and gradients of all cases, in one program."""

    def of(x, sizes):
        value, pull_back = jax.vjp(lambda x: operation(x, sizes), x)
        by_value = jax.tree.map(lambda y: jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape), value)
        return jax.tree.leaves((value, *pull_back(by_value)))

    return jax.jit(lambda cases: [of(*case) for case in cases], compiler_options=compiler_options())(cases)


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_kernels_equal_the_plain_path_in_value_and_gradient(kernels, name):
    sides = (((1, 5), 3), ((9, 12), 1), ((8, 7), 3), ((40, 35), 3), ((4, 6), 0))
    cases = [arrays(3, 1, *where, c)[:2] for where in sides for c in (1, 11, 44)]
    holds = [inside(x, sizes) for x, sizes in cases]
    # what lies outside must not matter
    cases = [
        (np.where(held, x + 3, 1e3).astype(np.float32), s) for (x, s), held in zip(cases, holds, strict=True)
    ]
    results = (other_results(operation, cases) for operation in OTHERS[name])
    for held, ours, theirs in zip(holds, *results, strict=True):
        for mine, expected in zip(ours, theirs, strict=True):
            if name == "batch norm" and mine.ndim == 4:  # values outside are whatever x makes of them
                mine, expected = np.where(held, mine, 0), np.where(held, expected, 0)
            scale = np.abs(np.asarray(expected)).max(initial=1e-3)
            np.testing.assert_allclose(mine, expected, rtol=0, atol=2e-5 * scale)


def test_moments_are_exact_where_the_mean_is_large(kernels):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(5, 30, 41, 11)) + 1e4).astype(np.float32)
    sizes = jnp.asarray(sizes_of(5, (30, 41)))
    channels = jnp.zeros(11)
    running = Running(channels, channels, False)
    _, mean, variance = operations.normalised(jnp.asarray(x), sizes, channels, channels, running, 1e-3)
    cells = x[np.broadcast_to(inside(x, np.asarray(sizes)), x.shape)].reshape(-1, 11).astype(np.float64)
    np.testing.assert_allclose(mean, cells.mean(0), rtol=1e-7)
    np.testing.assert_allclose(variance, cells.var(0), rtol=1e-4)


def test_not_a_number_is_not_hidden(kernels):
    x, sizes, k, dy = arrays(3, 1, (9, 12), 2, 11)
    x[0, 4, 4, 4] = np.nan
    y, _, dk = results(operations.depthwise, (x, sizes, k, dy), 1)
    assert np.isnan(y[0, 3:6, 3:6, 4]).all()
    assert np.isnan(dk[:, :, 4]).all()
    assert np.isfinite(np.delete(np.asarray(y), 4, axis=-1)).all()


def test_empty_batches_and_half_precision(kernels):
    empty = arrays(5, 1, (4, 6), 0, 3)
    y, dx, dk = results(operations.depthwise, empty, 1)
    assert y.shape == dx.shape == (0, 4, 6, 3)
    np.testing.assert_array_equal(dk, 0)
    x, sizes, *others = arrays(5, 2, (9, 12), 2, 11)
    case = jnp.asarray(x, jnp.bfloat16), sizes, *(jnp.asarray(a, jnp.bfloat16) for a in others)
    both = (results(d, case, 2) for d in (operations.depthwise, plain.depthwise))
    for mine, theirs in zip(*both, strict=True):
        assert mine.dtype == theirs.dtype == jnp.bfloat16
        scale = np.abs(np.asarray(theirs, np.float32)).max()
        np.testing.assert_allclose(np.float32(mine), np.float32(theirs), rtol=0, atol=0.02 * scale)


def layer_case(side, batch, channels, features, window=3, stride=1):
    """x with anything outside its pictures, their sizes, the parameters of a layer, and a map to add."""
    x, sizes, kernel, _ = arrays(window, stride, side, batch, channels)
    x = np.where(inside(x, sizes), x, 1e3).astype(np.float32)
    rng = np.random.default_rng(features)
    small = [-(-n // stride) for n in side]
    shapes = (channels, features), (features,), (features,), (batch, *small, features)
    return x, sizes, kernel, *(rng.normal(size=shape).astype(np.float32) for shape in shapes)


# of panels of one to three vectors, whole or not, and of two pairs; from more than 28 channels on, where the processor
# has a matrix unit, of one to seven tiles beside one another
FEATURES = (1, 11, 16, 22, 44, 64, 88, 100)


def assert_close_inside(mine, expected, sizes, stride=1):
    held = inside(expected, -(-sizes // stride))
    assert_close([np.where(held, mine, 0)], [np.where(held, expected, 0)])


@pytest.mark.parametrize("stride", [1, 2])
def test_separable_layers_of_one_map_equal_their_definition(kernels, stride):
    cases = []
    for where in (*SIDES_AND_BATCHES, ((40, 35), 3)):
        for channels, features in zip((1, 11, 33, 22, 44, 100, 3, 176), FEATURES, strict=True):
            x, sizes, _, *parameters, onto = layer_case(*where, channels, features, stride=stride)
            several = [layer_case(*where, channels, f, w, stride)[2:] for f, w in ((7, 7), (features, 5))]
            layers = *several, (np.ones((3, 3, channels), np.float32), *parameters, onto)
            alone = Layer(*layers[1][:-1])
            cases.append((x, sizes, (*(Layer(*layer) for layer in layers), alone)))
    results = jax.jit(lambda cases: [fused.separable(*case, stride) for case in cases])(cases)
    for (x, sizes, layers), maps in zip(cases, results, strict=True):
        for (kernel, matrix, scale, shift, onto), mine in zip(layers, maps, strict=True):
            dy = np.zeros((*mine.shape[:3], x.shape[3]))
            expected = defined(x, sizes, kernel, dy, stride)[0] @ matrix * scale + shift
            assert_close_inside(mine, expected if onto is None else expected + onto, sizes, stride)


@pytest.mark.parametrize("window", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_an_inverted_residual_equals_its_definition(kernels, window, stride):
    cases = []
    for where in (*SIDES_AND_BATCHES, ((40, 35), 3), ((67, 9), 2)):
        for channels, wide, features in ((1, 16, 3), (11, 32, 22), (16, 96, 24), (96, 0, 11), (11, 0, 1)):
            x, sizes, kernel, matrix, scale, shift, onto = layer_case(
                *where, wide or channels, features, window, stride
            )
            expansion = None
            if wide:
                x, *_ = layer_case(*where, channels, wide)
                expansion = Expansion(*layer_case(*where, channels, wide)[3:6])
            between = np.linspace(-3, 9, wide or channels, dtype=np.float32)
            # so that either end of both ReLU6 is met
            residual = Residual(expansion, 4 * kernel, between, matrix, scale, shift, onto)
            cases.append((4 * x, sizes, residual if features > 3 else residual._replace(onto=None)))
    results = jax.jit(lambda cases: [fused.inverted_residual(*case, stride, 6.0) for case in cases])(cases)
    ends = np.zeros(2, bool)
    for (x, sizes, residual), mine in zip(cases, results, strict=True):
        expanded, dy = x.astype(np.float64), np.zeros((*mine.shape[:3], len(residual.between)))
        if residual.expansion:
            matrix, scale, shift = residual.expansion
            expanded = expanded @ matrix * scale + shift
        filtered = defined(np.minimum(expanded, 6), sizes, residual.kernel, dy, stride)[0] + residual.between
        expected = np.clip(filtered, 0, 6) @ residual.matrix * residual.scale + residual.shift
        expected = expected if residual.onto is None else expected + residual.onto
        ends |= [(filtered > 6).any(), (filtered < 0).any()]
        assert_close_inside(mine, expected, sizes, stride)
    assert ends.all()


@pytest.mark.parametrize("rectified", [False, True])
def test_a_projection_equals_its_definition(kernels, rectified):
    cases = [
        layer_case(*where, channels, features)
        for where in (*SIDES_AND_BATCHES, ((40, 35), 3))
        for numbers in ((1, 11, 22, 3, 5, 28, 11, 5), (29, 32, 176, 264, 44, 100, 33, 40))
        for channels, features in zip(numbers, FEATURES, strict=True)
    ]
    results = jax.jit(lambda cases: [fused.projection(*c[:2], *c[3:6], rectified) for c in cases])(cases)
    for (x, sizes, _, matrix, scale, shift, _), mine in zip(cases, results, strict=True):
        wide = x.astype(np.float64)
        expected = (np.maximum(wide, 0) if rectified else wide) @ matrix * scale + shift
        assert_close_inside(mine, expected, sizes)


@pytest.mark.parametrize(("channels", "features"), [(22, 22), (44, 44), (264, 88), (1056, 176)])
def test_products_are_as_exact_as_float32(kernels, channels, features):
    rng = np.random.default_rng(channels)
    # eight orders of magnitude, so that small numbers stand beside large ones
    x, matrix = (
        (rng.normal(size=shape) * 10.0 ** rng.uniform(-4, 4, shape)).astype(np.float32)
        for shape in ((1, 5, 9, channels), (channels, features))
    )
    sizes, ones, zeros = jnp.array([[5, 9]]), jnp.ones(features), jnp.zeros(features)
    mine = np.asarray(fused.projection(x, sizes, matrix, ones, zeros, False), np.float64)
    exact, terms = x.astype(np.float64) @ matrix, np.abs(x).astype(np.float64) @ np.abs(matrix)
    assert np.max(np.abs(mine - exact) / terms) < 4 * 2.0**-24 + 2.0**-24 * channels**0.5


def test_joined_sums_and_strided_pools_equal_the_plain_ones(kernels):
    def results(join, pools, cases):
        for x, other, sizes, onto in cases:
            copies = Sum((x,)), Sum((onto,)), Sum((x,))
            sums = Sum((x,), (other,)), Sum((onto,)), Sum((), (x, x)), Sum((x, other), (x, other))
            joined = (join(each, sizes) for each in (copies, sums))
            yield *joined, *pools(x, sizes)

    cases = []
    for side, batch in (*SIDES_AND_BATCHES, ((40, 35), 3)):
        for channels in (1, 11, 22, 100):
            x, sizes, *_, onto = layer_case(side, batch, channels, 16)
            other = np.roll(x, 1, axis=2)
            x[0, -1, -1, 0] = np.nan
            cases.append((x, other, sizes, onto))
    both = (
        jax.jit(lambda cases, given=given: list(results(*given, cases)))(cases)
        for given in (
            (fused.joined, fused.strided_pools),
            (fused.plain_joined, fused.plain_strided_pools),
        )
    )
    for (_, _, sizes, _), *pairs in zip(cases, *both, strict=True):
        for mine, expected, stride, tolerance in zip(*pairs, (1, 1, 2, 2), (0, 2e-6, 0, 1e-6), strict=True):
            held = inside(expected, -(-sizes // stride))
            mine, expected = np.where(held, mine, 0), np.where(held, expected, 0)
            np.testing.assert_allclose(mine, expected, rtol=tolerance, atol=tolerance)


def test_the_stem_equals_the_plain_one(kernels):
    for side, batch, features in (((3, 3), 1, 16), ((9, 12), 2, 32), ((64, 51), 3, 96)):
        x, sizes, _, _, scale, shift, _ = map(jnp.asarray, layer_case(side, batch, 3, features))
        kernel = jax.random.normal(jax.random.key(0), (3, 3, 3, features))
        mine, expected = (
            np.asarray(f(x, sizes, kernel, scale, shift)) for f in (fused.stem, fused.plain_stem)
        )
        held = inside(expected, np.maximum((np.asarray(sizes) - 1) // 2, 0))
        assert_close([np.where(held, mine, 0)], [np.where(held, expected, 0)])


def test_layers_at_inference_have_the_plain_gradients(kernels):
    x, *others = layer_case((9, 12), 2, 11, 22)
    # a pointwise convolution's gradient sums over all cells: large numbers outside would only tell its order
    x = np.where(inside(x, others[0]), x, 0)
    x, sizes, kernel, matrix, scale, shift, onto = map(jnp.asarray, (x, *others))
    stem_kernel = jnp.ones((3, 3, 3, 22))
    calls = {
        "separable": (
            (x, kernel, matrix, scale, shift, onto),
            lambda f: lambda x, *p: f(x, sizes, (Layer(*p), Layer(*p[:-1])), 1),
        ),
        "inverted_residual": (
            (
                x,
                jnp.ones((11, 16)) / 8,
                jnp.ones(16),
                jnp.ones((3, 3, 16)),
                jnp.ones((16, 22)),
                scale,
                shift,
                onto,
            ),
            lambda f: (
                lambda x, wide, ones, kernel, *p: f(
                    x, sizes, Residual(Expansion(wide, ones, ones), kernel, ones, *p), 1, 6.0
                )
            ),
        ),
        "projection": ((x, matrix, scale, shift), lambda f: lambda x, *p: f(x, sizes, *p, True)),
        "joined": (
            (x, onto),
            lambda f: lambda x, y: f((Sum((x,)), Sum((y,), (y,)), Sum((), (x, x))), sizes),
        ),
        "strided_pools": ((x,), lambda f: lambda x: f(x, sizes)),
        "stem": ((x[..., :3], stem_kernel, scale, shift), lambda f: lambda x, *p: f(x, sizes, *p)),
    }
    for name, (arguments, of) in calls.items():
        ours, theirs = (jax.vjp(of(getattr(fused, f"{which}{name}")), *arguments) for which in ("", "plain_"))
        dy = jax.tree.map(lambda y: jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape), ours[0])
        assert_close(ours[1](dy), theirs[1](dy))


@pytest.mark.parametrize("channels", [11, 44])
def test_layers_at_inference_hide_no_nan(kernels, channels):
    case = layer_case((9, 12), 2, channels, 22)
    case[0][0, 4, 4, 4] = np.nan
    x, sizes, kernel, *parameters, _ = map(jnp.asarray, case)
    (y,) = fused.separable(x, sizes, (Layer(kernel, *parameters),), 1)
    assert np.isnan(y[0, 3:6, 3:6]).all()
    assert np.isfinite(y[0, 7:]).all()
    for rectified in (False, True):
        assert np.isnan(fused.projection(x, sizes, *parameters, rectified)[0, 4, 4]).all()
    widened = jnp.ones((channels, 16)), jnp.ones(16), jnp.ones(16)
    for expansion, k, matrix in (
        (None, kernel, parameters[0]),
        (Expansion(*widened), jnp.ones((3, 3, 16)), jnp.ones((16, 22))),
    ):
        residual = Residual(expansion, k, k[0, 0], matrix, *parameters[1:])
        y = fused.inverted_residual(x, sizes, residual, 1, 6.0)
        assert np.isnan(y[0, 3:6, 3:6]).all()
        assert np.isfinite(y[0, 7:]).all()


def test_layers_at_inference_take_empty_batches_and_half_precision(kernels):
    x, sizes, *parameters, onto = map(jnp.asarray, layer_case((9, 12), 2, 11, 22))
    (empty,) = fused.separable(x[:0], sizes[:0], (Layer(*parameters, onto[:0]),), 1)
    assert empty.shape == (0, 9, 12, 22)
    x, onto = (a.astype(jnp.bfloat16) for a in (x, onto))
    (mine,), (theirs,) = (
        f(x, sizes, (Layer(*parameters, onto),), 1) for f in (fused.separable, fused.plain_separable)
    )
    assert mine.dtype == theirs.dtype == jnp.bfloat16
    held = inside(x, np.asarray(sizes))
    mine, theirs = (np.where(held, y.astype(jnp.float32), 0) for y in (mine, theirs))
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=0.02 * np.abs(theirs).max())


def call(symbol, result, *arguments, **options):
    """The result of one of the library's functions."""
    return jax.block_until_ready(jax.ffi.ffi_call(symbol, result)(*arguments, **options))


def float32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize(
    ("kernel", "sizes", "stride", "message"),
    [
        ((4, 4, 3), (1, 2), 1, r"3, 5 or 7, C = 3; it is \(4, 4, 3\)"),
        ((3, 3, 2), (1, 2), 1, r"C = 3; it is \(3, 3, 2\)"),
        ((3, 3, 3), (1, 2), 3, "stride must be 1 or 2, not 3"),
        ((3, 3, 3), (2, 2), 1, r"sizes must be \(1, 2\); they are \(2, 2\)"),
    ],
)
def test_wrong_kernels_sizes_and_strides_are_errors(kernels, kernel, sizes, stride, message):
    given = jnp.ones((1, 6, 6, 3)), jnp.ones(sizes, jnp.int32), jnp.ones(kernel)
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        call("DepthwiseForward", float32(1, 6, 6, 3), *given, stride=np.int64(stride), rectified=True)


@pytest.mark.parametrize("symbol", [s for s in native.SYMBOLS if s.startswith("Depthwise")])
def test_maps_that_do_not_belong_together_are_errors(kernels, symbol):
    x, sizes, k = jnp.ones((1, 6, 6, 3)), jnp.array([[6, 6]], jnp.int32), jnp.ones((3, 3, 3))
    small = jnp.ones((1, 3, 3, 3))  # fits stride 2
    arguments, result = {
        "DepthwiseForward": ((x, sizes, k), small),
        "DepthwiseInputGradient": ((x, sizes, k, small), x),
        "DepthwiseKernelGradient": ((x, sizes, small), k),
    }[symbol]
    with pytest.raises(jax.errors.JaxRuntimeError, match="do not belong together at stride 1"):
        call(symbol, float32(*result.shape), *arguments, stride=np.int64(1), rectified=True)


@pytest.mark.parametrize(
    ("symbol", "arguments", "results", "message"),
    [
        ("BatchNormMoments", [(1, 6, 6, 3), (2, 2)], [(3,), (3,)], r"sizes must be \(1, 2\)"),
        ("BatchNormMoments", [(1, 6, 6, 3), (1, 2)], [(4,), (3,)], r"C = 3 numbers; one is \(4\)"),
        (
            "BatchNormGradients",
            [(1, 6, 6, 3), (1, 2), (3,), (3,), (3,), (), (1, 5, 6, 3)],
            [(1, 6, 6, 3), (3,), (3,)],
            "must have one shape",
        ),
        ("FactorisedForward", [(1, 6, 6, 3), (1, 3)], [(1, 3, 3, 3)] * 2, r"sizes must be \(1, 2\)"),
        ("FactorisedForward", [(1, 6, 6, 3), (1, 2)], [(1, 3, 3, 3), (1, 2, 3, 3)], r"cannot be \(1, 2, 3, 3\)"),
        ("ProjectionForward", [(1, 6, 6, 3), (2, 2), (3, 4), (4,), (4,)], [(1, 6, 6, 4)], r"sizes must be \(1, 2\)"),
        ("ProjectionForward", [(1, 6, 6, 3), (1, 2), (2, 4), (4,), (4,)], [(1, 6, 6, 4)], r"they are \(2, 4\)"),
        ("ProjectionForward", [(1, 6, 6, 3), (1, 2), (3, 4), (4,), (4,)], [(1, 5, 6, 4)], "differ in size"),
        ("StridedPoolsForward", [(1, 6, 6, 3), (2, 2)], [(1, 3, 3, 3)] * 2, r"sizes must be \(1, 2\)"),
        ("StridedPoolsForward", [(1, 6, 6, 3), (1, 2)], [(1, 3, 3, 3), (1, 2, 3, 3)], r"cannot be \(1, 2, 3, 3\)"),
        ("StemForward", [(1, 7, 7, 3), (1, 2), (3, 3, 3, 4), (4,), (4,)], [(1, 2, 3, 4)], r"from \(1, 7, 7, 3\) to"),
    ],
)  # fmt: skip
def test_wrong_shapes_for_the_other_kernels_are_errors(kernels, symbol, arguments, results, message):
    given = [jnp.ones(shape, jnp.int32 if i == 1 else jnp.float32) for i, shape in enumerate(arguments)]
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        options = {"rectified": False} if symbol == "ProjectionForward" else {}
        call(symbol, tuple(float32(*shape) for shape in results), *given, **options)


def test_wrong_layers_of_a_map_are_errors(kernels):
    *given, onto = layer_case((9, 12), 2, 11, 22)
    for arguments, message in (
        ((*given, onto[:1]), r"must be a map \(2, 9, 12, 22\) or empty"),
        (given, "each of 1 results needs 5 arguments; they are 4"),
        ((*given, onto[0]), "of other ranks"),
    ):
        with pytest.raises(jax.errors.JaxRuntimeError, match=message):
            call("SeparableForward", float32(*onto.shape), *arguments, stride=np.int64(1))


@pytest.mark.parametrize(
    "changed",
    [{"expansion": (3, 15), "kernel": (3, 3, 15), "between": (15,), "matrix": (15, 4), "by": (15,)},
     {"between": (15,)}, {"onto": (1, 6, 5, 4)}, {"matrix": (15, 4)}, {"expansion": (2, 16)}, {"kernel": (4, 4, 16)}],
)  # fmt: skip
def test_a_wrong_inverted_residual_is_an_error(kernels, changed):
    shapes = {
        "expansion": (3, 16), "by": (16,), "plus": (16,), "kernel": (3, 3, 16), "between": (16,), "matrix": (16, 4),
        "scale": (4,), "shift": (4,), "onto": (1, 6, 6, 4),
    }  # fmt: skip
    shapes = {**shapes, **changed, **({"plus": changed["by"]} if "by" in changed else {})}
    given = jnp.ones((1, 6, 6, 3)), jnp.full((1, 2), 6, jnp.int32), *map(jnp.ones, shapes.values())
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"must be|needs|do not belong"):
        call(
            "InvertedResidualForward", float32(1, 6, 6, 4), *given, stride=np.int64(1), ceiling=np.float32(6)
        )


@pytest.mark.parametrize(
    ("sizes", "maps", "averaged", "features", "message"),
    [
        ((2, 2), [(1, 6, 6, 3), (1, 6, 6, 2)], [0, 0], 5, r"sizes must be \(1, 2\)"),
        ((1, 2), [(1, 6, 6, 3), (1, 5, 6, 2)], [0, 0], 5, "differ in size"),
        ((1, 2), [(1, 6, 6, 3), (1, 6, 6, 2)], [1, 0], 5, "differ in size"),
        ((1, 2), [(1, 6, 6, 3), (1, 6, 6, 2)], [0, 0], 4, "2 of 2 maps have 5 channels together"),
        ((1, 2), [(1, 6, 6, 3), (1, 6, 6, 3), (1, 6, 6, 2)], [1], 3, "2 of 3 maps have 3 channels together"),
    ],
)
def test_wrong_sums_to_join_are_errors(kernels, sizes, maps, averaged, features, message):
    counts = {"maps": np.ones(len(averaged), int), "averaged": np.array(averaged)}
    given = jnp.ones(sizes, jnp.int32), *map(jnp.ones, maps)
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        call("JoinForward", float32(1, 6, 6, features), *given, **counts)


DIGEST = """
import hashlib
import jax, jax.numpy as jnp, numpy as np
from mtp.native import fused, library, operations
from mtp.native.fused import Expansion, Layer, Residual, Sum
from mtp.ops.batch_norm import Running
library.load()
digest = hashlib.sha256()
sizes = jnp.array([(37, 41), (12, 30), (36, 7)])
ones = jnp.ones(44)
for stride in (1, 2):
    rng = np.random.default_rng(stride)
    shapes = (3, 37, 41, 44), (5, 5, 44), (3, -(-37 // stride), -(-41 // stride), 44)
    x, k, dy = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
    y, pull_back = jax.vjp(lambda a, b: operations.depthwise(a, sizes, b, stride), x, k)
    running = Running(ones, ones, False)
    z, norm_back = jax.vjp(lambda a: operations.normalised(a, sizes, ones, ones, running, 1e-3), x)
    rest = jnp.ones((44, 9)), jnp.ones(9), jnp.ones(9)
    layer, _ = fused.separable(x, sizes, (Layer(k, *rest), Layer(k[1:4, 1:4], *rest)), stride)
    projected = fused.projection(x, sizes, *rest, True)
    wide, spread = jnp.ones(48), jnp.asarray(rng.normal(size=(5, 5, 48)), jnp.float32)
    widened = Residual(Expansion(jnp.ones((44, 48)), wide, wide), spread, wide, jnp.ones((48, 9)), *rest[1:])
    block = fused.inverted_residual(x, sizes, widened, stride, 6.0)
    sums = (Sum((x,)), Sum((x,), (x[:, ::-1],)), Sum((), (x, x)))
    joined, pools = fused.joined(sums, sizes), fused.strided_pools(x, sizes)
    for result in (y, *pull_back(dy), *z, *norm_back((x, ones, ones)), layer, projected, block, joined, *pools):
        digest.update(np.asarray(result).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no way here to give a process one core")
def test_results_do_not_depend_on_threads_nor_change_between_runs(kernels):
    one_core = f"import os; os.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}])\n"
    codes = [one_core + DIGEST, DIGEST, DIGEST]
    digests = {
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True).stdout
        for code in codes
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == len(hashlib.sha256().hexdigest())
