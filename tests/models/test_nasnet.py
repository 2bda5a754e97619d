"""NASNet-A on canvases against Keras' own NASNet, run on each picture alone.

That a picture alone is as in a batch, values and gradients, is tested of every backbone (`test_backbones`).
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from mtp.models.layers import BatchStatistics
from mtp.models.nasnet import NASNET_A, NASNet
from mtp.models.weights import nasnet as pretrained
from mtp.ops.canvas import to_float
from mtp.runtime.settings import compiler_options
from tests.models.keras_nasnet import computed, keras_nasnet

# every parity of both sides at each of the six levels of the network, and the least size
SIZES = ((97, 256), (200, 131), (256, 150), (33, 32), (32, 97))
# of every remainder modulo 4, on one canvas for all tests of the tiny network
PARITIES = ((60, 75), (61, 73), (62, 74), (63, 72), (33, 75), (67, 39))
NOTHING = 1e-5  # of the map's scale
# Keras' variables predate numpy 2's copy keyword
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def _exact_products():
    with jax.default_matmul_precision("highest"):
        yield


def pictures(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def randomised(model: keras.Model) -> keras.Model:
    """With biases, scales and statistics that are not trivial."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        for variable in layer.weights:
            if variable.name in ("moving_mean", "beta"):
                variable.assign(rng.normal(0, 0.2, variable.shape))
            elif variable.name in ("moving_variance", "gamma"):
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def template(name: str):
    """Names and shapes of a backbone's variables."""
    module = NASNet(NASNET_A[name])
    images = jax.ShapeDtypeStruct((1, 65, 65, 3), jnp.float32)
    sizes = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    return jax.eval_shape(module.init, jax.random.key(0), images, sizes)


class Oracle:
    """Keras' NASNet at any size, and its weights as our variables, through a file and our converter."""

    def __init__(self, name: str, folder: Path):
        self.name = name
        model = randomised(keras_nasnet(name, (224, 224)))
        self.weights = model.get_weights()
        path = folder / f"{name}.weights.h5"
        model.save_weights(path)
        loaded = pretrained.read(path, name, template(name))
        assert loaded.top is None
        self.variables = {"params": loaded.params, "batch_stats": loaded.batch_stats}

    def at(self, size: tuple[int, int]) -> keras.Model:
        model = keras_nasnet(self.name, size)
        model.set_weights(self.weights)
        return model

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """The last map (h, w, C) of a picture."""
        return computed(self.at(picture.shape[:2]), picture[None])[0][0]


@pytest.fixture(scope="session")
def mobile(tmp_path_factory) -> Oracle:
    return Oracle("mobile", tmp_path_factory.mktemp("mobile"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Oracle:
    return Oracle("tiny", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def batch(canvas) -> tuple[np.ndarray, np.ndarray]:
    """Images and sizes of all parities."""
    return canvas(pictures(PARITIES), 67, 75, fill=93)


@functools.cache
def forward(name: str, **options):
    module = NASNet(NASNET_A[name], **options)

    def apply(variables, images, sizes):
        return module.apply(variables, to_float(images, sizes), sizes)

    return jax.jit(apply, compiler_options=compiler_options(run_once=True))


def valid(maps, sizes) -> list[np.ndarray]:
    return [np.asarray(m)[m.shape[0] - h :, m.shape[1] - w :] for m, (h, w) in zip(maps, sizes, strict=True)]


def assert_equal_maps(ours: np.ndarray, theirs: np.ndarray, tolerance: float = NOTHING) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize(("name", "count"), [("mobile", 4_269_716), ("large", 84_916_818)])
def test_parameter_count(name, count):
    assert sum(x.size for x in jax.tree.leaves(template(name))) == count


@pytest.mark.slow
def test_mixed_batch_and_each_alone_equal_keras(mobile, canvas):
    shown = pictures(SIZES)
    images, sizes = canvas(shown, 257, 257, fill=93)
    together = valid(*forward("mobile")(mobile.variables, images, sizes))
    theirs = [mobile(picture) for picture in shown]
    for ours, expected in zip(together, theirs, strict=True):
        assert_equal_maps(ours, expected)
    # one on a canvas of its own size, so that nothing is outside
    (alone,) = valid(*forward("mobile")(mobile.variables, *canvas(shown[-1:], 31, 97)))
    assert_equal_maps(alone, theirs[-1])


@pytest.mark.slow
def test_large_equals_keras(tmp_path, canvas):
    large = Oracle("large", tmp_path)
    shown = pictures([(65, 90), (64, 33)])
    ours = valid(*forward("large")(large.variables, *canvas(shown, 65, 91)))
    for picture, mine in zip(shown, ours, strict=True):
        assert_equal_maps(mine, large(picture))


def test_every_parity_equals_keras(tiny, batch):
    """All remainders modulo 4 of both sides: the factorised reduction samples by parity at two levels."""
    ours = valid(*forward("tiny")(tiny.variables, *batch))
    for picture, mine in zip(pictures(PARITIES), ours, strict=True):
        assert_equal_maps(mine, tiny(picture))


def test_training_mode_equals_keras(tiny):
    shown = np.stack(pictures([(97, 65)] * 3))
    sizes = np.full((3, 2), (97, 65), np.int32)
    module = NASNet(NASNET_A["tiny"])

    @functools.partial(jax.jit, compiler_options=compiler_options(run_once=True))
    def apply(variables, images, sizes):
        statistics = BatchStatistics(0.9997)
        return module.apply(variables, to_float(images, sizes), sizes, statistics, mutable=["batch_stats"])

    (maps, _), changed = apply(tiny.variables, shown, sizes)
    model = tiny.at((97, 65))
    theirs, after = computed(model, shown, training=True)
    assert_equal_maps(np.asarray(maps), theirs, 1e-4)  # small variances magnify rounding
    stem = {v.path: values for v, values in zip(model.non_trainable_variables, after, strict=True)}
    ours = changed["batch_stats"]["stem_bn1"]
    np.testing.assert_allclose(ours["moving_mean"], stem["stem_bn1/moving_mean"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours["moving_variance"], stem["stem_bn1/moving_variance"], rtol=1e-5)


def test_frozen_statistics_are_used_and_kept(tiny, batch):
    module = NASNet(NASNET_A["tiny"])

    @functools.partial(jax.jit, compiler_options=compiler_options(run_once=True))
    def apply(variables, images, sizes):
        frozen = BatchStatistics(0.5, True)
        return module.apply(variables, to_float(images, sizes), sizes, frozen, mutable=["batch_stats"])

    (frozen, _), kept = apply(tiny.variables, *batch)
    running, _ = forward("tiny")(tiny.variables, *batch)
    assert_equal_maps(np.asarray(frozen), np.asarray(running))
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], tiny.variables["batch_stats"])


@functools.cache
def gradient_program(remat: bool):
    """(variables, images, sizes) -> gradients, value and running statistics of a training pass, compiled."""
    module = NASNet(NASNET_A["tiny"], remat=remat)
    statistics = BatchStatistics(momentum=0.5)

    def value(params, batch_stats, images, sizes):
        variables = {"params": params, "batch_stats": batch_stats}
        (x, _), changed = module.apply(
            variables, to_float(images, sizes), sizes, statistics, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.square(x)), changed["batch_stats"]

    variables = template("tiny")
    images = jax.ShapeDtypeStruct((len(PARITIES), 67, 75, 3), jnp.uint8)
    sizes = jax.ShapeDtypeStruct((len(PARITIES), 2), jnp.int32)
    value_and_gradients = jax.jit(jax.value_and_grad(value, has_aux=True))
    lowered = value_and_gradients.lower(variables["params"], variables["batch_stats"], images, sizes)
    return lowered.compile(compiler_options(run_once=True))


def test_remat_changes_no_value_statistic_or_gradient(tiny, batch):
    given = (tiny.variables["params"], tiny.variables["batch_stats"], *batch)
    plain, again = (gradient_program(remat)(*given) for remat in (False, True))
    assert jax.tree.structure(plain) == jax.tree.structure(again)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * np.abs(a).max())
    without, again = (forward("tiny", **remat)(tiny.variables, *batch)[0] for remat in ({}, {"remat": True}))
    assert_equal_maps(np.asarray(again), np.asarray(without))


def test_remat_saves_memory_of_a_training_pass():
    """Measured: .57 for tiny, whose cells are few; jax.checkpoint alone gives 1."""
    plain, again = (gradient_program(remat).memory_analysis().temp_size_in_bytes for remat in (False, True))
    assert again < 0.7 * plain


def test_bfloat16_stays_near_float32(tiny, batch):
    """Measured: .7 % of the map's root mean square over some hundred roundings of 8 bits each."""
    plain = np.asarray(forward("tiny")(tiny.variables, *batch)[0])
    half = np.asarray(forward("tiny", dtype=jnp.bfloat16)(tiny.variables, *batch)[0], np.float32)
    error = np.sqrt(np.square(half - plain).mean() / np.square(plain).mean())
    assert 1e-4 < error < 0.03
