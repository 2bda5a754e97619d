"""The native kernels against a definition in float64, the plain path, and itself on one thread."""

import hashlib
import itertools
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtp.config import ConfigError, get_config
from mtp.data.schema import Dataset
from mtp.evaluation.rows import Facts
from mtp.models import mtp_nasnet
from mtp.native import library as native
from mtp.ops import depthwise as plain
from mtp.ops.batch_norm import Running
from mtp.ops.inference import Layer, Sum
from mtp.ops.kernels import PLAIN
from mtp.runtime.settings import compiler_options
from mtp.training import experiment
from mtp.training.step import Objective, TrainStep, initial_state

ROOT = Path(__file__).parents[2]
WINDOWS_AND_STRIDES = list(itertools.product((3, 5, 7), (1, 2)))
SIDES_AND_BATCHES = (((1, 1), 1), ((1, 5), 3), ((2, 1), 3), ((9, 12), 1), ((8, 7), 3), ((21, 4), 1))
CHANNELS = (1, 11, 22, 44, 100)


@pytest.fixture(scope="session")
def kernels():
    compiler = shlex.split(os.environ.get("CXX", "c++"))[0]
    if not shutil.which(compiler):
        pytest.skip(f"no C++ compiler ({compiler}) to build the native kernels with")
    native.build()
    return native.load()


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
    ours = jax.jit(lambda cases: [results(kernels.depthwise, case, stride) for case in cases])(cases)
    for case, mine in zip(cases, ours, strict=True):
        assert_close(mine, defined(*case, stride))


@pytest.mark.parametrize(("window", "stride"), WINDOWS_AND_STRIDES)
def test_value_and_gradients_equal_the_plain_path(kernels, window, stride):
    case = arrays(window, stride, (40, 35), 3, 22)  # several tiles a picture
    assert_close(results(kernels.depthwise, case, stride), results(plain.depthwise, case, stride))


OTHERS = {
    "batch norm": lambda k, x, sizes: k.normalised(
        x, sizes, jnp.linspace(0.5, 2, x.shape[-1]), jnp.zeros(x.shape[-1]),
        Running(jnp.zeros(x.shape[-1]), jnp.ones(x.shape[-1]), False), 1e-3,
    ),
    "window sums": lambda k, x, sizes: k.window_sums(x, sizes, 1),
    "strided window sums": lambda k, x, sizes: k.window_sums(x, sizes, 2),
    "factorised paths": lambda k, x, sizes: k.factorised_paths(x, sizes),
}  # fmt: skip


def other_results(kernels, name, cases):
    """Values and gradients of all cases, in one program."""

    def of(x, sizes):
        value, pull_back = jax.vjp(lambda x: OTHERS[name](kernels, x, sizes), x)
        slopes = jax.tree.map(lambda y: jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape), value)
        return jax.tree.leaves((value, *pull_back(slopes)))

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
    results = (other_results(chosen, name, cases) for chosen in (kernels, PLAIN))
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
    _, mean, variance = kernels.normalised(jnp.asarray(x), sizes, channels, channels, running, 1e-3)
    cells = x[np.broadcast_to(inside(x, np.asarray(sizes)), x.shape)].reshape(-1, 11).astype(np.float64)
    np.testing.assert_allclose(mean, cells.mean(0), rtol=1e-7)
    np.testing.assert_allclose(variance, cells.var(0), rtol=1e-4)


def test_not_a_number_is_not_hidden(kernels):
    x, sizes, k, dy = arrays(3, 1, (9, 12), 2, 11)
    x[0, 4, 4, 4] = np.nan
    y, _, dk = results(kernels.depthwise, (x, sizes, k, dy), 1)
    assert np.isnan(y[0, 3:6, 3:6, 4]).all()
    assert np.isnan(dk[:, :, 4]).all()
    assert np.isfinite(np.delete(np.asarray(y), 4, axis=-1)).all()


def test_empty_batches_and_half_precision(kernels):
    empty = arrays(5, 1, (4, 6), 0, 3)
    y, dx, dk = results(kernels.depthwise, empty, 1)
    assert y.shape == dx.shape == (0, 4, 6, 3)
    np.testing.assert_array_equal(dk, 0)
    x, sizes, *others = arrays(5, 2, (9, 12), 2, 11)
    case = jnp.asarray(x, jnp.bfloat16), sizes, *(jnp.asarray(a, jnp.bfloat16) for a in others)
    both = (results(d, case, 2) for d in (kernels.depthwise, plain.depthwise))
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
    results = jax.jit(lambda cases: [kernels.separable(*case, stride) for case in cases])(cases)
    for (x, sizes, layers), maps in zip(cases, results, strict=True):
        for (kernel, matrix, scale, shift, onto), mine in zip(layers, maps, strict=True):
            dy = np.zeros((*mine.shape[:3], x.shape[3]))
            expected = defined(x, sizes, kernel, dy, stride)[0] @ matrix * scale + shift
            assert_close_inside(mine, expected if onto is None else expected + onto, sizes, stride)


def test_a_projection_equals_its_definition(kernels):
    cases = [
        layer_case(*where, channels, features)
        for where in (*SIDES_AND_BATCHES, ((40, 35), 3))
        for numbers in ((1, 11, 22, 3, 5, 28, 11, 5), (29, 32, 176, 264, 44, 100, 33, 40))
        for channels, features in zip(numbers, FEATURES, strict=True)
    ]
    results = jax.jit(lambda cases: [kernels.projection(*c[:2], *c[3:6]) for c in cases])(cases)
    for (x, sizes, _, matrix, scale, shift, _), mine in zip(cases, results, strict=True):
        assert_close_inside(mine, x.astype(np.float64) @ matrix * scale + shift, sizes)


@pytest.mark.parametrize(("channels", "features"), [(22, 22), (44, 44), (264, 88), (1056, 176)])
def test_products_are_as_exact_as_float32(kernels, channels, features):
    rng = np.random.default_rng(channels)
    # eight orders of magnitude, so that small numbers stand beside large ones
    x, matrix = (
        (rng.normal(size=shape) * 10.0 ** rng.uniform(-4, 4, shape)).astype(np.float32)
        for shape in ((1, 5, 9, channels), (channels, features))
    )
    sizes, ones, zeros = jnp.array([[5, 9]]), jnp.ones(features), jnp.zeros(features)
    mine = np.asarray(kernels.projection(x, sizes, matrix, ones, zeros), np.float64)
    exact, terms = x.astype(np.float64) @ matrix, np.abs(x).astype(np.float64) @ np.abs(matrix)
    assert np.max(np.abs(mine - exact) / terms) < 4 * 2.0**-24 + 2.0**-24 * channels**0.5


def test_joined_sums_and_strided_pools_equal_the_plain_ones(kernels):
    def results(kernels, cases):
        for x, other, sizes, onto in cases:
            copies = Sum((x,)), Sum((onto,)), Sum((x,))
            sums = Sum((x,), (other,)), Sum((onto,)), Sum((), (x, x)), Sum((x, other), (x, other))
            joined = (kernels.joined(each, sizes) for each in (copies, sums))
            yield *joined, *kernels.strided_pools(x, sizes)

    cases = []
    for side, batch in (*SIDES_AND_BATCHES, ((40, 35), 3)):
        for channels in (1, 11, 22, 100):
            x, sizes, *_, onto = layer_case(side, batch, channels, 16)
            other = np.roll(x, 1, axis=2)
            x[0, -1, -1, 0] = np.nan
            cases.append((x, other, sizes, onto))
    both = (jax.jit(lambda cases, k=k: list(results(k, cases)))(cases) for k in (kernels, PLAIN))
    for (_, _, sizes, _), *pairs in zip(cases, *both, strict=True):
        for mine, expected, stride, tolerance in zip(*pairs, (1, 1, 2, 2), (0, 2e-6, 0, 1e-6), strict=True):
            held = inside(expected, -(-sizes // stride))
            mine, expected = np.where(held, mine, 0), np.where(held, expected, 0)
            np.testing.assert_allclose(mine, expected, rtol=tolerance, atol=tolerance)


def test_the_stem_equals_the_plain_one(kernels):
    for side, batch, features in (((3, 3), 1, 16), ((9, 12), 2, 32), ((64, 51), 3, 96)):
        x, sizes, _, _, scale, shift, _ = map(jnp.asarray, layer_case(side, batch, 3, features))
        kernel = jax.random.normal(jax.random.key(0), (3, 3, 3, features))
        mine, expected = (np.asarray(k.stem(x, sizes, kernel, scale, shift)) for k in (kernels, PLAIN))
        held = inside(expected, np.maximum((np.asarray(sizes) - 1) // 2, 0))
        assert_close([np.where(held, mine, 0)], [np.where(held, expected, 0)])


def test_layers_at_inference_have_the_plain_gradients(kernels):
    x, sizes, kernel, matrix, scale, shift, onto = map(jnp.asarray, layer_case((9, 12), 2, 11, 22))
    stem_kernel = jnp.ones((3, 3, 3, 22))
    calls = {
        "separable": (
            (x, kernel, matrix, scale, shift, onto),
            lambda f: lambda x, *p: f(x, sizes, (Layer(*p), Layer(*p[:-1])), 1),
        ),
        "projection": ((x, matrix, scale, shift), lambda f: lambda x, *p: f(x, sizes, *p)),
        "joined": (
            (x, onto),
            lambda f: lambda x, y: f((Sum((x,)), Sum((y,), (y,)), Sum((), (x, x))), sizes),
        ),
        "strided_pools": ((x,), lambda f: lambda x: f(x, sizes)),
        "stem": ((x[..., :3], stem_kernel, scale, shift), lambda f: lambda x, *p: f(x, sizes, *p)),
    }
    for name, (arguments, of) in calls.items():
        ours, theirs = (jax.vjp(of(getattr(k, name)), *arguments) for k in (kernels, PLAIN))
        dy = jax.tree.map(lambda y: jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape), ours[0])
        assert_close(ours[1](dy), theirs[1](dy))


@pytest.mark.parametrize("channels", [11, 44])
def test_layers_at_inference_hide_no_nan(kernels, channels):
    case = layer_case((9, 12), 2, channels, 22)
    case[0][0, 4, 4, 4] = np.nan
    x, sizes, kernel, *parameters, _ = map(jnp.asarray, case)
    (y,) = kernels.separable(x, sizes, (Layer(kernel, *parameters),), 1)
    assert np.isnan(y[0, 3:6, 3:6]).all()
    assert np.isfinite(y[0, 7:]).all()
    assert np.isnan(kernels.projection(x, sizes, *parameters)[0, 4, 4]).all()


def test_layers_at_inference_take_empty_batches_and_half_precision(kernels):
    x, sizes, *parameters, onto = map(jnp.asarray, layer_case((9, 12), 2, 11, 22))
    (empty,) = kernels.separable(x[:0], sizes[:0], (Layer(*parameters, onto[:0]),), 1)
    assert empty.shape == (0, 9, 12, 22)
    x, onto = (a.astype(jnp.bfloat16) for a in (x, onto))
    (mine,), (theirs,) = (k.separable(x, sizes, (Layer(*parameters, onto),), 1) for k in (kernels, PLAIN))
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
        call(symbol, tuple(float32(*shape) for shape in results), *given)


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
from mtp.native import library as native
from mtp.ops.batch_norm import Running
from mtp.ops.inference import Layer, Sum
kernels = native.load()
digest = hashlib.sha256()
sizes = jnp.array([(37, 41), (12, 30), (36, 7)])
ones = jnp.ones(44)
for stride in (1, 2):
    rng = np.random.default_rng(stride)
    shapes = (3, 37, 41, 44), (5, 5, 44), (3, -(-37 // stride), -(-41 // stride), 44)
    x, k, dy = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
    y, pull_back = jax.vjp(lambda a, b: kernels.depthwise(a, sizes, b, stride), x, k)
    running = Running(ones, ones, False)
    z, norm_back = jax.vjp(lambda a: kernels.normalised(a, sizes, ones, ones, running, 1e-3), x)
    rest = jnp.ones((44, 9)), jnp.ones(9), jnp.ones(9)
    layer, _ = kernels.separable(x, sizes, (Layer(k, *rest), Layer(k[1:4, 1:4], *rest)), stride)
    projected = kernels.projection(x, sizes, *rest)
    sums = (Sum((x,)), Sum((x,), (x[:, ::-1],)), Sum((), (x, x)))
    joined, pools = kernels.joined(sums, sizes), kernels.strided_pools(x, sizes)
    for result in (y, *pull_back(dy), *z, *norm_back((x, ones, ones)), layer, projected, joined, *pools):
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


def stepped(kernels):
    """The tiny model's state and metrics after a step of plain gradient descent on two mixed sizes."""
    config = get_config()
    config.model.backbone = "tiny"
    config.model.fcn_hidden = 8
    model = mtp_nasnet.build(config.model, 5, 0, kernels)
    rng = np.random.default_rng(0)
    sizes = np.array([(41, 64), (65, 33)], np.int32)
    batch = {
        "images": rng.integers(0, 256, (2, 65, 65, 3), dtype=np.uint8),
        "sizes": sizes,
        "distribution": rng.dirichlet(np.ones(5), 2).astype(np.float32),
        "two_category": np.array([0, 1], np.float32),
        "distribution_weight": np.ones(2, np.float32),
        "two_category_weight": np.ones(2, np.float32),
    }
    optimiser = optax.sgd(0.1)
    objective = Objective(config.loss, {"distribution": 2.0, "two_category": 2.0}, "softmax")
    step = jax.jit(TrainStep(model, objective, optimiser, config, False), compiler_options=compiler_options())
    variables = jax.jit(model.init)(jax.random.key(0, impl="rbg"), batch["images"], sizes)
    sigmas = {"distribution": 0.5, "two_category": 0.9}
    state = initial_state(variables, sigmas, optimiser, ema=False)
    logits = jax.jit(model.apply)(variables, batch["images"], sizes)
    return logits, *step(state, batch)


@pytest.mark.slow
def test_a_tiny_model_and_its_training_step_are_the_same(kernels):
    (logits, state, metrics), (same, plainly, expected) = stepped(kernels), stepped(PLAIN)
    for mine, theirs in zip(jax.tree.leaves(logits), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert float(metrics["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
    assert float(metrics["gradient_norm"]) == pytest.approx(float(expected["gradient_norm"]), rel=1e-3)
    ours, theirs = (jax.tree.leaves((s.params, s.batch_stats)) for s in (state, plainly))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def one_picture():
    return Dataset(
        name="one", images=("a.png",), votes=np.ones((1, 5), np.int64), sizes=np.array([[40, 50]], np.int32),
        splits=("test",), groups=None, styles=np.zeros((1, 0), np.float32), style_names=(), metadata={},
        read=lambda _: b"",
    )  # fmt: skip


def facts():
    return Facts(
        ratings=5, style_names=(), style_kind="softmax", threshold=3.0, delta=0.4, tau=0.2,
        mean_histogram=(0.2,) * 5,
    )  # fmt: skip


def test_a_kernel_that_is_not_built_is_an_error_with_the_command(tmp_path):
    with pytest.raises(ConfigError, match=r"python -m mtp\.ops\.native"):
        native.load(tmp_path)


def test_the_configuration_chooses_the_implementation(kernels):
    config = get_config()
    config.model.backbone = "tiny"
    for chosen, expected in ((False, PLAIN), (True, kernels)):
        config.run.native = chosen
        assert experiment.prepare_evaluation(config, one_picture(), facts()).model.kernels is expected


@pytest.mark.parametrize(
    ("compiler", "message"), [("no-such-compiler", "was not found"), ("false", r"failed \(1\)")]
)
def test_building_without_a_working_compiler_says_so_and_leaves_nothing(
    tmp_path, monkeypatch, compiler, message
):
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(ConfigError, match=message):
        native.build(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_library_belongs_to_one_source_jaxlib_and_cpu(tmp_path, monkeypatch):
    here = native.library(tmp_path)
    assert native.library(tmp_path) == here
    monkeypatch.setattr(native.importlib.metadata, "version", lambda _: "0.0.1")
    assert native.library(tmp_path) != here
