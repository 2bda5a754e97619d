"""The contract of maps on canvases (`mtp.models.backbone`), which every record is held to.

A record of `BACKBONES` is picked up by itself. One more, which is none of them, reads every line of a picture.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike

from mtp.config import get_config
from mtp.models import mtp_nasnet
from mtp.models.backbone import Backbone
from mtp.models.backbones import BACKBONES
from mtp.models.efficientnet_lite import EfficientNetLite, Stage
from mtp.models.initialising import without_maps
from mtp.models.layers import BatchNorm, BatchStatistics, ConvNorm, Projection, SeparableConv
from mtp.models.model import every_line
from mtp.ops.canvas import halved_sizes, masked, to_float, valid_mask
from mtp.runtime.settings import compiler_options


class Same(nn.Module):
    """Three separable layers, each at half the resolution with Keras' "SAME" padding: every line is read."""

    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, pixels, sizes, statistics):
        # a pixel of -1..1 has no ReLU before its filter: both halves are kept
        x = jnp.concatenate([pixels, -pixels], axis=-1)
        for number, (channels, features) in enumerate([(6, 8), (8, 12), (12, 12)]):
            conv = SeparableConv(channels, 5, 2, self.dtype, features=features, name=f"conv_{number}")
            x = ConvNorm(conv, BatchNorm(features, name=f"norm_{number}"))(x, sizes, statistics)
            sizes = conv.out_sizes(sizes)
        mixed = Projection(12, 20, dtype=self.dtype, name="last")
        x = ConvNorm(mixed, BatchNorm(20, name="last_norm"))(x, sizes, statistics)
        return masked(jax.nn.relu(x), sizes), sizes


SAME = Backbone(module=Same, channels=20, stride=8, min_side=1, pixels=to_float)
# every kind of an inverted residual: without expansion, of both windows at stride 2, with its input added
FEW = (Stage(3, 1, 1, 8, 1), Stage(5, 2, 2, 12, 2), Stage(3, 2, 2, 16, 1))
FEW_STAGES = dataclasses.replace(
    BACKBONES["lite0"], module=functools.partial(EfficientNetLite, FEW), stride=8, min_side=9
)
ALL = {**BACKBONES, "same": SAME, "lite of few stages": FEW_STAGES}
# these compile for long: only shapes are looked at
COSTLY = ("mobile", "large", "lite0", "lite1", "lite2")
RUN = [name for name in ALL if name not in COSTLY]
EVERY = pytest.mark.parametrize("name", ALL)
COMPUTED = pytest.mark.parametrize("name", RUN)
NEAR = 1e-5  # of an array's scale


@pytest.fixture(autouse=True)
def _exact_products():
    with jax.default_matmul_precision("highest"):
        yield


def own_sizes(name):
    """Two pictures of every parity, none below the least side."""
    least = max(ALL[name].min_side, 5)
    return [(least + 1, least + 16), (least + 10, least + 5)]


def canvas_of(name, more=0):
    """A canvas that holds both, and lines outside of either; its own lines are all read."""
    least = max(ALL[name].min_side, 5) + more
    height, width = ALL[name].reads(np.array([[least + 18, least + 28]]))[0]
    return int(height), int(width)


def on_canvas(name, shown, canvas, fill):
    """Canvases (B, H, W, 3) that hold what the network reads of the pictures and `fill` elsewhere, and sizes (B, 2)."""
    images = np.full((len(shown), *canvas, 3), fill, np.uint8)
    sizes = ALL[name].reads(np.array([picture.shape[:2] for picture in shown], np.int32))
    for image, picture, (h, w) in zip(images, shown, sizes, strict=True):
        image[canvas[0] - h :, canvas[1] - w :] = picture[:h, :w]
    return images, sizes.astype(np.int32)


def of_network(name):
    """Two pictures of its own sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in own_sizes(name)]


def shapes(name, height, width):
    """Of the last map and its sizes."""
    given = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32), jax.ShapeDtypeStruct((2, 2), jnp.int32)
    module = ALL[name].module(dtype=jnp.float32, remat=False)
    return jax.eval_shape(module.init_with_output, jax.random.key(0), *given, None)[0]


@functools.cache
def network(name):
    """(module, variables) with statistics and scales that are not trivial."""
    module = ALL[name].module(dtype=jnp.float32, remat=False)
    side = max(ALL[name].min_side, 33)
    given = jnp.zeros((1, side, side, 3)), jnp.full((1, 2), side), None
    once = compiler_options(run_once=True)
    with nn.intercept_methods(without_maps):
        started = jax.jit(module.init, compiler_options=once)(jax.random.key(0, impl="rbg"), *given)

    def varied(leaf):
        bend = 0.3 * np.cos(np.arange(leaf.size, dtype=np.float32)).reshape(leaf.shape)
        return leaf + bend if leaf.ndim == 1 else leaf

    return module, jax.tree.map(varied, started)


@functools.cache
def programs(name):
    """(running, training), jitted: of the module's own input each gives maps, their sizes, statistics after it, and
    gradients of a sum over the maps, by the parameters and by the pixels of the canvas.
    """
    module, variables = network(name)

    def value(params, batch_stats, pixels, sizes, statistics):
        given = {"params": params, "batch_stats": batch_stats}
        (maps, map_sizes), changed = module.apply(given, pixels, sizes, statistics, mutable=["batch_stats"])
        weights = jnp.cos(jnp.arange(maps.shape[-1], dtype=jnp.float32))
        return jnp.sum(jnp.square(maps) @ weights), (maps, map_sizes, changed)

    def run(params, batch_stats, pixels, sizes, statistics):
        of_value = jax.value_and_grad(value, argnums=(0, 2), has_aux=True)
        (_, (maps, map_sizes, changed)), gradients = of_value(params, batch_stats, pixels, sizes, statistics)
        return maps, map_sizes, changed, *gradients

    def jitted(statistics):
        with_statistics = functools.partial(run, statistics=statistics)
        program = jax.jit(with_statistics, compiler_options=compiler_options(run_once=True))
        return functools.partial(program, variables["params"], variables["batch_stats"])

    return jitted(None), jitted(BatchStatistics(0.5))


def computed(name, training, images, sizes):
    """What the program gives for pictures."""
    pixels = ALL[name].pixels(jnp.asarray(images), jnp.asarray(sizes))
    return jax.device_get(programs(name)[training](pixels, sizes))


def corner(array, size):
    """The part of (H, W, C) that a picture of this size takes."""
    return np.asarray(array)[array.shape[0] - size[0] :, array.shape[1] - size[1] :]


def assert_near(ours, theirs, tolerance=NEAR):
    for mine, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        scale = max(float(np.abs(expected).max()), 1e-6)
        np.testing.assert_allclose(mine, expected, rtol=0, atol=tolerance * scale)


@EVERY
def test_the_map_has_the_channels_and_the_stride_that_the_record_says(name):
    """Even of a picture whose height is the least that it may be."""
    backbone = ALL[name]
    height, width = (
        int(n) for n in backbone.reads(np.array([[backbone.min_side, backbone.min_side + 97]]))[0]
    )
    maps, sizes = shapes(name, height, width)
    assert maps.shape[-1] == backbone.channels and maps.dtype == jnp.float32
    assert sizes.shape == (2, 2)
    for cells, side in zip(maps.shape[1:3], (height, width), strict=True):
        assert max(1, side // backbone.stride) <= cells <= -(-side // backbone.stride)


@EVERY
def test_pixels_are_zero_outside_and_finite_numbers_inside(name):
    images = np.full((2, 4, 5, 3), 200, np.uint8)
    sizes = jnp.array([[2, 3], [0, 0]], jnp.int32)
    found = np.asarray(ALL[name].pixels(jnp.asarray(images), sizes))
    outside = np.broadcast_to(~np.asarray(valid_mask(sizes, 4, 5)), found.shape)
    assert not found[outside].any()
    assert (np.abs(found[~outside]) > 0).all() and (np.abs(found) < 10).all()


@EVERY
def test_what_is_read_of_a_picture_is_nearly_all(name):
    sizes = np.random.default_rng(0).integers(ALL[name].min_side, 300, (100, 2))
    read = ALL[name].reads(sizes)
    assert read.shape == sizes.shape
    assert (read <= sizes).all() and (read >= sizes - ALL[name].stride).all() and (read > 0).all()
    np.testing.assert_array_equal(ALL[name].reads(read), read)  # of what is read all is read


@functools.cache
def mixed(name, training):
    """Results of both pictures on one canvas with garbage."""
    images, sizes = on_canvas(name, of_network(name), canvas_of(name), 93)
    return computed(name, training, images, sizes), sizes


@COMPUTED
def test_alone_is_as_in_a_mixed_batch(name):
    """The map, its size, the gradient by each pixel, and the sum of the gradients by the parameters.

    The first picture alone on a canvas that it fills, the other one on the batch's, whose program is there already.
    """
    (maps, map_sizes, _, by_params, by_pixels), sizes = mixed(name, False)
    first, second = of_network(name)
    height, width = (int(side) for side in sizes[0])
    filled = on_canvas(name, [first], (height, width), 0)
    images, own = on_canvas(name, [second, second], canvas_of(name), 0)
    images[1], own[1] = 0, 0
    total = jax.tree.map(np.zeros_like, by_params)
    for i, given in enumerate((filled, (images, own))):
        alone, alone_sizes, _, params, pixels = computed(name, False, *given)
        assert alone_sizes[0].tolist() == map_sizes[i].tolist()
        assert i or list(alone.shape[1:3]) == alone_sizes[0].tolist()
        assert_near(corner(maps[i], map_sizes[i]), corner(alone[0], alone_sizes[0]))
        assert_near(corner(by_pixels[i], sizes[i]), corner(pixels[0], sizes[i]))
        assert np.abs(alone).max() > 0
        total = jax.tree.map(np.add, total, params)
    for ours, theirs in zip(jax.tree.leaves(by_params), jax.tree.leaves(total), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())


@COMPUTED
@pytest.mark.parametrize("training", [False, True], ids=["running statistics", "training"])
def test_what_stands_outside_changes_nothing(name, training):
    """Neither map, statistics nor gradients, and outside the map is zero; an empty slot is as if it were not there."""
    before, sizes = mixed(name, training)
    images, _ = on_canvas(name, of_network(name), canvas_of(name), 255)
    images[:, :2] = 0
    jax.tree.map(np.testing.assert_array_equal, before, computed(name, training, images, sizes))
    maps, map_sizes, _, _, by_pixels = before
    outside = ~np.asarray(valid_mask(jnp.asarray(map_sizes), *maps.shape[1:3]))
    assert not maps[np.broadcast_to(outside, maps.shape)].any()
    assert all(
        np.abs(corner(gradient, size)).max() > 0 for gradient, size in zip(by_pixels, sizes, strict=True)
    )


@COMPUTED
def test_garbage_that_is_no_number_stays_outside(name):
    """The module masks its own input: it does not rely on zeros outside the pictures."""
    images, sizes = on_canvas(name, of_network(name), canvas_of(name), 93)
    pixels = ALL[name].pixels(jnp.asarray(images), jnp.asarray(sizes))
    inside = np.asarray(valid_mask(jnp.asarray(sizes), *canvas_of(name)))
    found, expected = (
        programs(name)[0](jnp.where(inside, pixels, fill), sizes)[0] for fill in (jnp.nan, 0.0)
    )
    np.testing.assert_array_equal(found, expected)


@COMPUTED
def test_statistics_of_a_batch_are_those_of_the_pictures_cells(name):
    """The same from a wider canvas, where more cells are outside; an empty slot counts for nothing."""
    (maps, map_sizes, changed, by_params, _), sizes = mixed(name, True)
    shown = of_network(name)
    images, _ = on_canvas(name, [*shown, shown[0]], canvas_of(name, 6), 10)
    empty = np.concatenate([sizes, np.zeros((1, 2), np.int32)])
    wide, wide_sizes, same, params, _ = computed(name, True, images, empty)
    assert wide_sizes[2].tolist() == [0, 0] and not wide[2].any()
    for i in range(2):
        assert_near(corner(wide[i], wide_sizes[i]), corner(maps[i], map_sizes[i]), 1e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), same, changed)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(by_params))
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(by_params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-3 * largest)
    start = network(name)[1]["batch_stats"]
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), changed["batch_stats"], start)
    assert min(jax.tree.leaves(moved)) > 0


@COMPUTED
@pytest.mark.parametrize("parity", [0, 1])
def test_exactly_what_is_read_matters(name, parity):
    """On a canvas of the whole picture the first and the last line that is read change the map; what lies behind does
    not."""
    backbone = ALL[name]
    least = max(backbone.min_side, 5)
    side = least + 6 + (least % 2 != parity)
    assert side % 2 == parity
    picture = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    rows, columns = (int(n) for n in backbone.reads(np.array([[side, side]]))[0])
    module, variables = network(name)

    @functools.partial(jax.jit, compiler_options=compiler_options(run_once=True))
    def apply(variables, image):
        """Of the picture as it is: it fills its canvas from the top-left corner, where layers sample from."""
        sizes = jnp.array([[side, side]], jnp.int32)
        return module.apply(variables, backbone.pixels(image[None], sizes), sizes, None)[0]

    maps_of = functools.partial(apply, variables)
    before = maps_of(picture)
    behind = picture.copy()
    behind[rows:], behind[:, columns:] = 255 - behind[rows:], 255 - behind[:, columns:]
    np.testing.assert_array_equal(maps_of(behind), before)
    for axis, last in ((0, rows - 1), (1, columns - 1)):
        for line in (0, last):
            changed = picture.copy()
            where = (line,) if axis == 0 else (slice(None), line)
            changed[where] = 255 - changed[where]
            assert float(jnp.abs(maps_of(changed) - before).max()) > 0


def test_a_new_record_is_a_model_by_its_name(monkeypatch):
    """The record alone gives a network with columns, tasks, groups and sizes."""
    monkeypatch.setitem(BACKBONES, "same", dataclasses.replace(SAME, min_side=3))
    config = get_config().model
    config.update({"backbone": "same", "fcn_hidden": 8})
    model = mtp_nasnet.build(config, 5, 3)
    assert (model.min_side, model.reads) == (3, every_line)
    images, sizes = on_canvas("same", of_network("same"), canvas_of("same"), 93)
    inputs = {"images": jnp.asarray(images), "sizes": jnp.asarray(sizes)}
    variables = jax.jit(model.init)(0)
    logits, found = jax.jit(lambda v: (model.logits(v, inputs)[0], model.details(v, inputs)))(variables)
    assert {task: x.shape for task, x in logits.items()} == {
        "distribution": (2, 5),
        "two_category": (2, 2),
        "style": (2, 3),
    }
    assert found["map"].shape == (2, 3, 5, SAME.channels)
    expected = halved_sizes(halved_sizes(halved_sizes(jnp.asarray(sizes))))
    np.testing.assert_array_equal(found["map_sizes"], expected)
