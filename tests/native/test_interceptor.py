"""Models of known layers on the kernels: the same numbers, by the kernels' calls, and the plain path untouched."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.typing import DTypeLike

from mtp.config import get_config
from mtp.inference.facts import Facts
from mtp.inference.models import build_model
from mtp.inference.predictor import Predictor
from mtp.models import mtp_nasnet
from mtp.models.backbones import BACKBONES
from mtp.models.cells import NORMAL, REDUCTION, Average, Cell, CellTable, Identity, Separable
from mtp.models.efficientnet_lite import InvertedResidual, Stage
from mtp.models.initialising import without_maps
from mtp.models.layers import (
    BatchNorm,
    BatchStatistics,
    ConvNorm,
    DepthwiseConv,
    Projection,
    SeparableConv,
    StemConv,
)
from mtp.models.pools import AveragePool, StridedAveragePool
from mtp.models.recompute import applied
from mtp.native import accelerated
from mtp.ops.canvas import halved_sizes, masked, to_float
from mtp.runtime.mesh import data_mesh
from mtp.runtime.settings import compiler_options
from mtp.training import experiment
from mtp.training.objective import Objective
from mtp.training.state import initial_state
from mtp.training.step import TrainStep

pytestmark = pytest.mark.usefixtures("kernels")
SIZES = np.array([(41, 64), (65, 33)], np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 65, 65, 3), dtype=np.uint8)
TRAINING = {
    "DepthwiseForward", "DepthwiseInputGradient", "DepthwiseKernelGradient", "BatchNormMoments", "BatchNormGradients",
    "FactorisedForward", "FactorisedGradient",
}  # fmt: skip
INFERENCE = {
    "SeparableForward", "ProjectionForward", "JoinForward", "StridedPoolsForward", "StemForward", "FactorisedForward",
}  # fmt: skip
ALL = TRAINING | INFERENCE | {"InvertedResidualForward"}


class Trunk(nn.Module):
    """Inverted residuals (Sandler et al. 2018) and a separable layer, of known layers and nothing of `mtp.native`."""

    window: int = 5

    @nn.compact
    def __call__(self, images, sizes, statistics):
        def layer(conv, x, sizes):
            name = f"{conv.name}_bn"
            norm = BatchNorm(getattr(conv, "features", x.shape[-1]), name=name)
            return ConvNorm(conv, norm)(x, sizes, statistics), conv.out_sizes(sizes)

        x, sizes = layer(StemConv(12, name="stem"), images, sizes)
        x = nn.relu6(x)
        for i, stride in enumerate((1, 2, 1)):
            before = x
            x, _ = layer(Projection(12, 24, rectified=False, name=f"expand_{i}"), x, sizes)
            x, sizes = layer(DepthwiseConv(24, self.window, stride, name=f"filter_{i}"), nn.relu6(x), sizes)
            x, _ = layer(Projection(24, 12, rectified=False, name=f"project_{i}"), nn.relu6(x), sizes)
            x = x + before if stride == 1 else x
        x, sizes = layer(SeparableConv(12, 3, 2, features=20, name="last"), x, sizes)
        x, sizes = StridedAveragePool()(AveragePool()(x, sizes), sizes), halved_sizes(sizes)
        return masked(x, sizes)


def moved(variables):
    """With statistics and scales that are not trivial."""

    def varied(path, leaf):
        bend = 0.3 * np.cos(np.arange(leaf.size, dtype=np.float32)).reshape(leaf.shape)
        return leaf + bend if leaf.ndim == 1 else leaf

    return jax.tree_util.tree_map_with_path(varied, variables)


def trained(model):
    """(variables, images, sizes) -> a loss, its gradients by the parameters, and the statistics after it."""

    def loss(params, batch_stats, images, sizes):
        variables = {"params": params, "batch_stats": batch_stats}
        given = variables, to_float(images, sizes), sizes, BatchStatistics(0.9)
        y, changed = model.apply(*given, mutable=["batch_stats"])
        return jnp.sum(jnp.square(jax.tree.leaves(y)[0])), changed

    return loss


def inferred(model):
    def apply(variables, images, sizes):
        return jax.tree.leaves(model.apply(variables, to_float(images, sizes), sizes, None))[0]

    return apply


def called(function, *arguments):
    """The kernels that a function's program calls."""
    text = jax.jit(function).lower(*arguments).as_text()
    return {name for name in ALL if f"@{name}(" in text}


def once(function):
    """Jitted to run a single time."""
    return jax.jit(function, compiler_options=compiler_options(run_once=True))


def assert_near(ours, theirs, tolerance):
    """Each array by its own scale; those of no size beside the others, which are sums of what cancels, by theirs."""
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    for mine, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        scale = max(np.abs(np.asarray(expected)).max(), 1e-3 * largest)
        np.testing.assert_allclose(mine, expected, rtol=0, atol=tolerance * scale)


def initialised(model):
    return lambda key, images, sizes: model.init(key, to_float(images, sizes), sizes, None)


def started(model):
    with nn.intercept_methods(without_maps):
        return moved(once(initialised(model))(jax.random.key(0, impl="rbg"), IMAGES, SIZES))


def test_another_trunk_of_known_layers_gets_the_kernels_and_the_plain_numbers():
    model = Trunk()
    variables = started(model)
    given = (variables["params"], variables["batch_stats"], IMAGES, SIZES)
    plain = jax.value_and_grad(trained(model), has_aux=True)
    native = accelerated(plain)
    assert called(native, *given) == TRAINING - {"FactorisedForward", "FactorisedGradient"}
    assert_near(once(native)(*given), once(plain)(*given), 2e-4)
    plain, native = inferred(model), accelerated(inferred(model))
    expected = {"StemForward", "ProjectionForward", "SeparableForward", "DepthwiseForward"}
    assert called(native, variables, IMAGES, SIZES) == expected
    assert_near(once(native)(variables, IMAGES, SIZES), once(plain)(variables, IMAGES, SIZES), 1e-5)


def test_a_window_that_no_kernel_has_stays_plain():
    model = Trunk(window=9)
    variables = started(model)
    plain, native = inferred(model), accelerated(inferred(model))
    assert_near(once(native)(variables, IMAGES, SIZES), once(plain)(variables, IMAGES, SIZES), 1e-5)


def test_initial_values_do_not_depend_on_the_kernels():
    model = Trunk()
    init, given = initialised(model), (jax.random.key(0, impl="rbg"), IMAGES, SIZES)
    ours, theirs = (once(f)(*given) for f in (accelerated(init), init))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


class Cells(nn.Module):
    """The stem and a cell of each kind and adjustment: the second's skip input is one level larger, the third's of
    other channels. It is a backbone's module, too.
    """

    dtype: DTypeLike = jnp.float32
    remat: bool = False
    table: CellTable = NORMAL

    @nn.compact
    def __call__(self, images, sizes, statistics=None):
        conv = StemConv(6, name="stem")
        stem = ConvNorm(conv, BatchNorm(6, name="norm"))
        maps = [(stem(images, sizes, statistics), conv.out_sizes(sizes))]
        for table, features, adjust, skip in (
            (REDUCTION, 4, "none", 0), (self.table, 8, "reduce", 0), (self.table, 8, "project", 1),
        ):  # fmt: skip
            (x, sizes), (p, p_sizes) = maps[-1], maps[skip]
            cell = Cell(table, features, str(len(maps)), adjust, name=f"cell_{len(maps)}")
            y = applied(cell, (x, p), (sizes, p_sizes), statistics, remat=self.remat)
            maps.append((y, cell.out_sizes(sizes)))
        x, sizes = maps[-1]
        return masked(x, sizes), sizes


@pytest.fixture(scope="module")
def variables():
    return started(Cells())


@pytest.mark.parametrize("native_first", [False, True])
@pytest.mark.parametrize("remat", [False, True])
def test_programs_of_both_paths_stand_side_by_side(variables, remat, native_first):
    """Whichever was traced first, though the function is jitted inside."""
    model = Cells(remat=remat)
    gradient = jax.jit(jax.value_and_grad(trained(model), has_aux=True))
    apply = jax.jit(inferred(model))
    batch = variables["params"], variables["batch_stats"], IMAGES, SIZES
    for is_native in (native_first, not native_first):
        around = accelerated if is_native else (lambda function: function)
        assert called(around(gradient), *batch) == (TRAINING if is_native else set())
        assert called(around(apply), variables, IMAGES, SIZES) == (INFERENCE if is_native else set())


@pytest.mark.parametrize("remat", [False, True])
def test_a_gradient_taken_outside_has_the_kernels_too(variables, remat):
    loss = accelerated(trained(Cells(remat=remat)))
    batch = variables["params"], variables["batch_stats"], IMAGES, SIZES
    assert called(jax.grad(loss, has_aux=True), *batch) == TRAINING


# an average beside a convolution, and a sum that another operation reads
OTHER = CellTable(
    "normal",
    {"x1": (Separable("h", 5, "normal_left1"), Average("p")), "x2": (Identity("h"), Identity("p")),
     "x3": (Average("x2"), Separable("x2", 3, "normal_right2"))},
    ("x1", "x3"),
)  # fmt: skip


@pytest.mark.parametrize("table", [NORMAL, OTHER], ids=["NASNet's", "another"])
def test_cells_are_the_same_at_inference(table):
    model = Cells(table=table)
    variables, plain = started(model), inferred(model)
    ours, theirs = (once(f)(variables, IMAGES, SIZES) for f in (accelerated(plain), plain))
    assert_near(ours, theirs, 1e-5)


class Residuals(nn.Module):
    """EfficientNet-Lite's inverted residuals, with and without an expansion, a stride and a sum."""

    window: int = 5
    channels: int = 16

    @nn.compact
    def __call__(self, images, sizes, statistics):
        stem, n = StemConv(self.channels, padded=True, name="stem"), self.channels
        x, sizes = (
            ConvNorm(stem, BatchNorm(n, name="stem_bn"))(images, sizes, statistics),
            stem.out_sizes(sizes),
        )
        for i, (stride, expansion) in enumerate(((1, 1), (2, 6), (1, 6))):
            block = InvertedResidual(Stage(self.window, stride, expansion, n, 1), stride, name=f"block_{i}")
            x, sizes = block(3 * x, sizes, statistics), block.out_sizes(sizes)
        return masked(x, sizes)


@pytest.mark.parametrize(
    ("window", "channels", "kernels"),
    [
        (5, 16, {"InvertedResidualForward"}),
        # an expanded map of 72 channels is no whole vectors, and no kernel has a window of 9
        (5, 12, {"InvertedResidualForward", "DepthwiseForward", "ProjectionForward"}),
        (9, 16, {"ProjectionForward"}),
    ],
)
def test_inverted_residuals_are_the_same_at_inference(window, channels, kernels):
    model = Residuals(window, channels)
    variables, plain = started(model), inferred(model)
    native = accelerated(plain)
    assert called(native, variables, IMAGES, SIZES) == kernels | {"StemForward"}
    assert_near(once(native)(variables, IMAGES, SIZES), once(plain)(variables, IMAGES, SIZES), 1e-5)


CELLS = dataclasses.replace(BACKBONES["tiny"], module=Cells, channels=8 * len(NORMAL.outputs), stride=4)


def stepped(is_native, remat=False):
    """A model's logits, and its state and metrics after a step of gradient descent on two mixed sizes."""
    config = get_config()
    config.model.backbone, config.model.remat = "cells", remat
    config.model.fcn_hidden = 8
    model = mtp_nasnet.build(config.model, 5, 0)
    inputs = {"images": jnp.asarray(IMAGES), "sizes": jnp.asarray(SIZES)}
    truth = np.random.default_rng(0).dirichlet(np.ones(5), 2).astype(np.float32)
    batch = {
        "inputs": inputs,
        "labels": {"distribution": truth, "two_category": np.array([0, 1], np.float32)},
        "slots": {"filled": np.ones(2, np.float32)},
        "weights": {"distribution": np.ones(2, np.float32), "two_category": np.ones(2, np.float32)},
    }
    optimiser = optax.sgd(0.1)
    objective = Objective(config.loss, {"distribution": 2.0, "two_category": 2.0}, "softmax")
    step = TrainStep(model, objective, optimiser, config, False, is_native)
    variables = once(model.init)(0)
    state = initial_state(variables, {"distribution": 0.5, "two_category": 0.9}, optimiser, ema=False)
    infer = accelerated(model.logits) if is_native else model.logits
    logits, _ = once(infer)(variables, inputs)
    return logits, *once(step)(state, batch)


@pytest.mark.slow
def test_a_model_and_its_training_step_are_the_same(monkeypatch):
    """With and without recomputing; the plain path once, where remat changes nothing (`tests.models.test_nasnet`)."""
    monkeypatch.setitem(BACKBONES, "cells", CELLS)
    same, plainly, expected = stepped(False)
    for remat in (False, True):
        logits, state, metrics = stepped(True, remat)
        for mine, theirs in zip(jax.tree.leaves(logits), jax.tree.leaves(same), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
        assert float(metrics["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
        assert float(metrics["gradient_norm"]) == pytest.approx(float(expected["gradient_norm"]), rel=1e-3)
        ours, theirs = (jax.tree.leaves((s.params, s.batch_stats)) for s in (state, plainly))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def facts():
    return Facts(
        ratings=5, style_names=(), style_kind="softmax", threshold=3.0, delta=0.4, tau=0.2,
        mean_histogram=(0.2,) * 5,
    )  # fmt: skip


@pytest.mark.parametrize("is_native", [False, True])
def test_the_configuration_chooses_the_path(is_native):
    """Of predictions and of training."""
    config = get_config()
    config.model.backbone, config.run.native = "tiny", "on" if is_native else "off"
    model = build_model(config, facts())
    variables = jax.eval_shape(model.init, 0)
    predictor = Predictor.of(config, facts(), model, variables, mesh=data_mesh(1))
    text = predictor.programs.probabilities.lower(variables, {"images": IMAGES, "sizes": SIZES}).as_text()
    assert ("@SeparableForward(" in text) == is_native
    objective = Objective(config.loss, {}, "softmax")
    assert experiment.build_step(config, model, objective, optax.sgd(0.1)).native == is_native
