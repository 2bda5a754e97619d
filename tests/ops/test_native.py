"""The native depthwise kernel against a definition in float64, the plain path, and itself on one thread."""

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

from mtp import experiment
from mtp.config import ConfigError, get_config
from mtp.data.schema import Dataset
from mtp.evaluate import Facts
from mtp.mesh import compiler_options
from mtp.models import mtp_nasnet
from mtp.ops import depthwise as plain
from mtp.ops import native
from mtp.step import Objective, TrainStep, initial_state

ROOT = Path(__file__).parents[2]
WINDOWS_AND_STRIDES = list(itertools.product((3, 5, 7), (1, 2)))
SIDES_AND_BATCHES = (((1, 1), 1), ((1, 5), 3), ((2, 1), 3), ((9, 12), 1), ((8, 7), 3), ((21, 4), 1))
CHANNELS = (1, 11, 22, 44, 100)


@pytest.fixture(scope="session")
def kernel():
    compiler = shlex.split(os.environ.get("CXX", "c++"))[0]
    if not shutil.which(compiler):
        pytest.skip(f"no C++ compiler ({compiler}) to build the native kernel with")
    native.build()
    return native.load()


def arrays(window, stride, side, batch, channels):
    """x, kernel, dy."""
    rng = np.random.default_rng(window * 1000 + channels)
    small = [-(-n // stride) for n in side]
    shapes = ((batch, *side, channels), (window, window, channels), (batch, *small, channels))
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def results(depthwise, case, stride):
    """The value and the gradients by x and by the kernel."""
    x, k, dy = map(jnp.asarray, case)
    y, pull_back = jax.vjp(lambda a, b: depthwise(a, b, stride), x, k)
    return y, *pull_back(dy)


def defined(x, k, dy, stride):
    """The same three in float64, one tap after the other."""
    window, (height, width), (h, w) = len(k), x.shape[1:3], dy.shape[1:3]
    rows, columns = plain.padding(height, window, stride), plain.padding(width, window, stride)
    wide = np.pad(x.astype(np.float64), ((0, 0), rows, columns, (0, 0)))
    y, dx, dk = np.zeros(dy.shape), np.zeros(wide.shape), np.zeros(k.shape)
    for i, j in np.ndindex(window, window):
        under = np.s_[:, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
        y += wide[under] * k[i, j]
        dx[under] += dy * k[i, j]
        dk[i, j] = np.sum(wide[under] * dy, axis=(0, 1, 2))
    return y, dx[:, rows[0] : rows[0] + height, columns[0] : columns[0] + width], dk


def assert_close(ours, expected):
    for mine, theirs in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(("window", "stride"), WINDOWS_AND_STRIDES)
def test_value_and_gradients_equal_the_definition(kernel, window, stride):
    cases = [arrays(window, stride, *where, c) for where in SIDES_AND_BATCHES for c in CHANNELS]
    ours = jax.jit(lambda cases: [results(kernel, case, stride) for case in cases])(cases)
    for case, mine in zip(cases, ours, strict=True):
        assert_close(mine, defined(*case, stride))


@pytest.mark.parametrize(("window", "stride"), WINDOWS_AND_STRIDES)
def test_value_and_gradients_equal_the_plain_path(kernel, window, stride):
    case = arrays(window, stride, (40, 35), 3, 22)  # several tiles a picture
    assert_close(results(kernel, case, stride), results(plain.depthwise, case, stride))


def test_empty_batches_and_half_precision(kernel):
    empty = arrays(5, 1, (4, 6), 0, 3)
    y, dx, dk = results(kernel, empty, 1)
    assert y.shape == dx.shape == (0, 4, 6, 3)
    np.testing.assert_array_equal(dk, 0)
    case = tuple(jnp.asarray(a, jnp.bfloat16) for a in arrays(5, 2, (9, 12), 2, 11))
    for mine, theirs in zip(results(kernel, case, 2), results(plain.depthwise, case, 2), strict=True):
        assert mine.dtype == theirs.dtype == jnp.bfloat16
        scale = np.abs(np.asarray(theirs, np.float32)).max()
        np.testing.assert_allclose(np.float32(mine), np.float32(theirs), rtol=0, atol=0.02 * scale)


@pytest.mark.parametrize(
    ("shape", "stride", "message"),
    [
        ((4, 4, 3), 1, r"3, 5 or 7, C = 3; it is \(4, 4, 3\)"),
        ((3, 3, 2), 1, r"C = 3; it is \(3, 3, 2\)"),
        ((3, 3, 3), 3, "stride must be 1 or 2, not 3"),
    ],
)
def test_wrong_kernels_and_strides_are_errors(kernel, shape, stride, message):
    y = jax.ShapeDtypeStruct((1, 6, 6, 3), jnp.float32)
    call = jax.ffi.ffi_call("DepthwiseForward", y)
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        jax.block_until_ready(call(jnp.ones((1, 6, 6, 3)), jnp.ones(shape), stride=np.int64(stride)))


@pytest.mark.parametrize("symbol", native.SYMBOLS)
def test_maps_that_do_not_belong_together_are_errors(kernel, symbol):
    x, k = jnp.ones((1, 6, 6, 3)), jnp.ones((3, 3, 3))
    small = jnp.ones((1, 3, 3, 3))  # fits stride 2
    arguments, result = {
        "DepthwiseForward": ((x, k), small),
        "DepthwiseInputGradient": ((k, small), x),
        "DepthwiseKernelGradient": ((x, small), k),
    }[symbol]
    call = jax.ffi.ffi_call(symbol, jax.ShapeDtypeStruct(result.shape, jnp.float32))
    with pytest.raises(jax.errors.JaxRuntimeError, match="do not belong together at stride 1"):
        jax.block_until_ready(call(*arguments, stride=np.int64(1)))


DIGEST = """
import hashlib, sys
import jax, jax.numpy as jnp, numpy as np
from mtp.ops import native
kernel = native.load()
digest = hashlib.sha256()
for stride in (1, 2):
    rng = np.random.default_rng(stride)
    shapes = (3, 37, 41, 22), (5, 5, 22), (3, -(-37 // stride), -(-41 // stride), 22)
    x, k, dy = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    y, pull_back = jax.vjp(lambda a, b: kernel(a, b, stride), jnp.asarray(x), jnp.asarray(k))
    for result in (y, *pull_back(dy)):
        digest.update(np.asarray(result).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no way here to give a process one core")
def test_results_do_not_depend_on_threads_nor_change_between_runs(kernel):
    one_core = f"import os; os.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}])\n"
    codes = [one_core + DIGEST, DIGEST, DIGEST]
    digests = {
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True).stdout
        for code in codes
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == len(hashlib.sha256().hexdigest())


def stepped(depthwise):
    """The tiny model's state and metrics after a step of plain gradient descent on two mixed sizes."""
    config = get_config()
    config.model.backbone = "tiny"
    config.model.fcn_hidden = 8
    model = mtp_nasnet.build(config.model, 5, 0, depthwise)
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
def test_a_tiny_model_and_its_training_step_are_the_same(kernel):
    (logits, state, metrics), (same, plainly, expected) = stepped(kernel), stepped(plain.depthwise)
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


def test_the_configuration_chooses_the_implementation(kernel):
    config = get_config()
    config.model.backbone = "tiny"
    for chosen, expected in ((False, plain.depthwise), (True, native.depthwise)):
        config.run.native = chosen
        assert experiment.prepare_evaluation(config, one_picture(), facts()).model.depthwise is expected


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
