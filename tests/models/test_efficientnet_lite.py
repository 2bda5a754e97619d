"""EfficientNet-Lite on canvases against the same network of Keras' layers, run on each picture alone."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from mtp.models.backbones import BACKBONES
from mtp.models.efficientnet_lite import BASE, LITE, EfficientNetLite, Stage, layout, to_float
from mtp.models.layers import BatchStatistics
from mtp.runtime.settings import compiler_options

NEAR = 1e-5  # of the map's scale
# both parities of each side at every level down to the last one, and the least size
SIZES = ((32, 33), (33, 32), (47, 64), (50, 61), (64, 39))
CANVAS = (64, 64)
# of every kind of inverted residual
FEW = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 3, 40, 2),
    Stage(5, 1, 3, 40, 2),
    Stage(3, 2, 2, 48, 1),
)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def _exact_products():
    with jax.default_matmul_precision("highest"):
        yield


def keras_lite(stages) -> keras.Model:
    """Of Keras' layers, for pictures of any size, with parameters and statistics that are not trivial."""
    layers, shape = keras.layers, (None, None, 3)

    def norm(x, name):
        return layers.BatchNormalization(epsilon=1e-3, name=name)(x)

    def six(x):
        return layers.ReLU(6.0)(x)

    given = layers.Input(shape)
    conv = functools.partial(layers.Conv2D, padding="same", use_bias=False)
    x = six(norm(conv(32, 3, strides=2, name="stem_conv")(given), "stem_bn"))
    for block, stage, stride in layout(stages):
        y, channels = x, x.shape[-1] * stage.expansion
        if stage.expansion > 1:
            y = six(norm(conv(channels, 1, name=f"{block}_expand_conv")(y), f"{block}_expand_bn"))
        filters = layers.DepthwiseConv2D(
            stage.window, strides=stride, padding="same", use_bias=False, name=f"{block}_dwconv"
        )
        y = six(norm(filters(y), f"{block}_bn"))
        y = norm(conv(stage.features, 1, name=f"{block}_project_conv")(y), f"{block}_project_bn")
        x = layers.Add()([x, y]) if stride == 1 and x.shape[-1] == stage.features else y
    model = keras.Model(given, six(norm(conv(1280, 1, name="top_conv")(x), "top_bn")))
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if variable.name in ("moving_mean", "beta"):
            variable.assign(rng.normal(0, 0.2, variable.shape))
        elif variable.name in ("moving_variance", "gamma"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def variables_of(model: keras.Model, module: EfficientNetLite):
    """Keras' numbers under our names."""
    theirs = {(layer.name, v.name): np.asarray(v) for layer in model.layers for v in layer.weights}

    def taken(path, leaf):
        _, *modules, name = (part.key for part in path)
        found = theirs.pop(("_".join(modules), "kernel" if name == "depthwise_kernel" else name))
        assert found.shape == leaf.shape
        return jnp.asarray(found)

    given = jax.ShapeDtypeStruct((1, 33, 33, 3), jnp.float32), jax.ShapeDtypeStruct((1, 2), jnp.int32)
    found = jax.tree.map_with_path(taken, jax.eval_shape(module.init, jax.random.key(0), *given))
    assert not theirs
    return found


def pictures(sizes=SIZES):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def on_canvas(shown, fill=93):
    images = np.full((len(shown), *CANVAS, 3), fill, np.uint8)
    for image, picture in zip(images, shown, strict=True):
        image[CANVAS[0] - picture.shape[0] :, CANVAS[1] - picture.shape[1] :] = picture
    return jnp.asarray(images), jnp.array([picture.shape[:2] for picture in shown], jnp.int32)


@pytest.mark.parametrize(
    ("stages", "sizes"), [(FEW, SIZES), (LITE["lite0"], SIZES[::4])], ids=["few", "lite0"]
)
def test_a_mixed_batch_equals_keras_on_each_picture_alone(stages, sizes):
    model, module = keras_lite(stages), EfficientNetLite(stages)
    variables = variables_of(model, module)
    shown = pictures(sizes)
    images, canvas_sizes = on_canvas(shown)
    run = jax.jit(
        lambda images: module.apply(variables, to_float(images, canvas_sizes), canvas_sizes),
        compiler_options=compiler_options(run_once=True),
    )
    maps, map_sizes = run(images)
    alone = jax.jit(lambda x: model(x, training=False), compiler_options=compiler_options(run_once=True))
    for picture, ours, (h, w) in zip(shown, np.asarray(maps), np.asarray(map_sizes), strict=True):
        expected = np.asarray(alone((picture[None].astype(np.float32) - 127) / 128))[0]
        assert expected.shape[:2] == (h, w)
        found = ours[ours.shape[0] - h :, ours.shape[1] - w :]
        np.testing.assert_allclose(found, expected, rtol=0, atol=NEAR * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "features", "repeats", "parameters"),
    # numbers of parameters without the classifier's 1,281,000: 4.7, 5.4 and 6.1 million in all
    [
        ("lite0", (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1), 3_371_008),
        ("lite1", (16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1), 4_135_680),
        ("lite2", (16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1), 4_811_072),
    ],
)
def test_the_published_sizes(name, features, repeats, parameters):
    stages = LITE[name]
    assert tuple(stage.features for stage in stages) == features
    assert tuple(stage.repeats for stage in stages) == repeats
    assert [s[:3] for s in stages] == [s[:3] for s in BASE]
    module = BACKBONES[name].module(dtype=jnp.float32, remat=False)
    given = jax.ShapeDtypeStruct((1, 33, 33, 3), jnp.float32), jax.ShapeDtypeStruct((1, 2), jnp.int32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *given)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


def test_remat_changes_no_value_statistic_or_gradient():
    shown = pictures(SIZES[:2])
    images, sizes = on_canvas(shown)
    started = jax.jit(
        lambda: EfficientNetLite(FEW[:3]).init(jax.random.key(0), to_float(images, sizes), sizes)
    )()

    @functools.partial(jax.jit, static_argnums=0, compiler_options=compiler_options(run_once=True))
    def step(remat, params):
        def loss(params):
            module = EfficientNetLite(FEW[:3], remat=remat)
            given = {"params": params, "batch_stats": started["batch_stats"]}
            (maps, _), changed = module.apply(
                given, to_float(images, sizes), sizes, BatchStatistics(0.9), mutable=["batch_stats"]
            )
            return jnp.mean(jnp.square(maps)), changed

        return jax.value_and_grad(loss, has_aux=True)(params)

    for ours, theirs in zip(
        *(jax.tree.leaves(step(remat, started["params"])) for remat in (True, False)), strict=True
    ):
        np.testing.assert_allclose(
            ours, theirs, rtol=1e-4, atol=1e-5 * max(float(jnp.abs(theirs).max()), 1e-6)
        )
