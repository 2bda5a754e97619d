"""The whole model: options, tasks, trunks, and what `Model` promises of any network."""

import dataclasses
import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike

from mtp.config import ConfigError, get_config
from mtp.models import mtp_nasnet
from mtp.models.backbones import BACKBONES
from mtp.models.layers import BatchNorm, BatchStatistics, ConvNorm, StemConv
from mtp.models.model import Model, example_canvas
from mtp.ops.canvas import masked
from mtp.tasks import TASKS


def model(ratings=10, styles=14, **options):
    config = get_config().model
    config.update({"backbone": "tiny", "fcn_hidden": 16, **options})
    return mtp_nasnet.build(config, ratings, styles)


def shapes(built):
    inputs = {
        "images": jax.ShapeDtypeStruct((2, 65, 97, 3), jnp.uint8),
        "sizes": jax.ShapeDtypeStruct((2, 2), jnp.int32),
    }
    variables = jax.eval_shape(built.init, 0)
    return variables, jax.eval_shape(built.logits, variables, inputs)[0]


@pytest.mark.parametrize(
    "options",
    [{}, {"columns": ("gap",)}, {"columns": ("fcn",)}, {"columns": ("spp",)}, {"trunks": 2}, {"heads": "cascade"},
     {"fcn_average": "softmax"}, {"spp_pool": "average"}, {"fcn_hidden": 0}, {"dtype": "bfloat16"}, {"remat": True}],
    ids=str,
)  # fmt: skip
def test_every_option_gives_float32_logits_of_each_task(options):
    variables, logits = shapes(model(**options))
    assert {task: (x.shape, x.dtype) for task, x in logits.items()} == {
        "distribution": ((2, 10), jnp.float32),
        "two_category": ((2, 2), jnp.float32),
        "style": ((2, 14), jnp.float32),
    }
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_a_second_trunk_has_its_own_weights(small):
    one, two = (shapes(small(trunks=n))[0]["params"] for n in (1, 2))
    assert set(one) == {"backbone", "heads"}
    assert set(two) == {"backbone", "backbone_spp", "heads"}


def test_tasks_are_a_subset_and_without_styles_there_is_no_style_head(small):
    _, logits = shapes(small(tasks=("distribution",)))
    assert set(logits) == {"distribution"}
    _, logits = shapes(small(ratings=7, styles=0))
    assert {t: x.shape[1] for t, x in logits.items()} == {"distribution": 7, "two_category": 2}


class Stem(nn.Module):
    """The least backbone: one convolution."""

    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, pixels, sizes, statistics):
        conv = StemConv(6, name="conv")
        x = ConvNorm(conv, BatchNorm(6, name="norm"))(pixels, sizes, statistics)
        return masked(jax.nn.relu(x), conv.out_sizes(sizes)), conv.out_sizes(sizes)


@pytest.fixture
def small(monkeypatch):
    """`model` on a backbone that compiles in a moment."""

    def load(variables, weights):
        return jax.tree.map(lambda x: x + 1, variables)

    stem = dataclasses.replace(BACKBONES["tiny"], module=Stem, channels=6, stride=2, load=load)
    monkeypatch.setitem(BACKBONES, "stem", stem)
    return functools.partial(model, backbone="stem")


def test_any_subset_of_tasks_is_a_model(small):
    for count in (1, 2, 3):
        for chosen in itertools.combinations(TASKS, count):
            built = small(tasks=chosen)
            assert tuple(built.outputs) == chosen
            assert set(shapes(built)[1]) == set(chosen)


def test_a_model_without_a_task_is_an_error():
    with pytest.raises(
        ConfigError, match=r"model\.tasks must hold a task that the data has labels for.*style"
    ):
        model(styles=0, tasks=("style",))


@pytest.mark.parametrize("options", [{}, {"trunks": 2}, {"columns": ("gap",), "heads": "cascade"}], ids=str)
def test_every_parameter_has_a_group_of_the_optimiser(options, small):
    built = small(**options)
    params = shapes(built)[0]["params"]
    groups = built.group_of_parameters(params)
    assert jax.tree.structure(groups) == jax.tree.structure(params)
    assert set(jax.tree.leaves(groups["heads"])) == {"heads"}
    assert {group for name in groups if name != "heads" for group in jax.tree.leaves(groups[name])} == {
        "trunk"
    }


def test_a_model_knows_what_its_backbone_knows():
    built = model()
    assert built.min_side == BACKBONES["tiny"].min_side
    assert built.reads is BACKBONES["tiny"].reads


def batch():
    images = np.random.default_rng(0).integers(0, 256, (2, 15, 13, 3), dtype=np.uint8)
    return {"images": jnp.asarray(images), "sizes": jnp.array([[15, 9], [7, 13]], jnp.int32)}


def detailed(built, seed=0):
    """Logits and details of the batch."""
    inputs = batch()

    @jax.jit
    def both(seed):
        variables = built.init(seed)
        return built.logits(variables, inputs)[0], built.details(variables, inputs)

    return jax.device_get(both(seed))


def inside(maps, sizes, i):
    height, width = sizes[i]
    return maps[i, maps.shape[1] - height :, maps.shape[2] - width :]


def test_details_are_the_map_and_each_cells_logits_of_gap_and_fcn(small):
    """The mean of the cells' logits over a picture is the column's logit."""
    for column in ("gap", "fcn"):
        logits, found = detailed(small(columns=(column,)))
        sizes, cells = found["map_sizes"], found["heads"][column]["cells"]
        assert sizes.tolist() == [[7, 4], [3, 6]]
        assert found["map"].shape == (2, 7, 6, 6)
        assert cells.keys() == logits.keys() == set(TASKS)
        for task in cells:
            for i in range(2):
                mean = inside(cells[task], sizes, i).mean((0, 1))
                np.testing.assert_allclose(mean, logits[task][i], rtol=1e-4, atol=1e-5)


def test_details_of_several_columns_are_each_ones_own(small):
    """The logits are the mean of the columns'; pyramids have no cells."""
    logits, found = detailed(small(columns=("gap", "fcn"), fcn_hidden=0), seed=3)
    assert set(found["heads"]) == {"gap", "fcn"}
    for task in logits:
        for i in range(2):
            means = [
                inside(found["heads"][c]["cells"][task], found["map_sizes"], i).mean((0, 1))
                for c in ("gap", "fcn")
            ]
            np.testing.assert_allclose(sum(means) / 2, logits[task][i], rtol=1e-4, atol=1e-5)
    assert set(detailed(small(columns=("spp",)))[1]["heads"]["spp"]) == {"features"}


def test_a_seed_says_the_variables(small):
    init = jax.jit(small().init)
    first, again, other = map(init, (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    one, two = (found["params"]["backbone"]["conv"]["kernel"] for found in (first, other))
    assert float(jnp.abs(one - two).max()) > 0


def test_running_statistics_change_in_training_only(small):
    built, inputs = small(), batch()
    variables = jax.jit(built.init)(0)
    _, kept = jax.jit(built.logits)(variables, inputs)
    jax.tree.map(np.testing.assert_array_equal, kept, variables["batch_stats"])
    _, changed = jax.jit(built.logits)(variables, inputs, BatchStatistics(0.5))
    for old, new in zip(jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(changed), strict=True):
        assert float(jnp.abs(old - new).max()) > 0


def test_a_model_begins_at_a_histogram(small):
    histogram = [0.1, 0.2, 0.4, 0.2, 0.1]
    built, inputs = small(ratings=5), batch()
    variables = jax.jit(built.init)(0)
    begun = {**variables, "params": built.begin(variables["params"], histogram)}
    logits, _ = jax.jit(built.logits)(begun, inputs)
    np.testing.assert_allclose(jax.nn.softmax(logits["distribution"]), [histogram] * 2, atol=0.05)
    jax.tree.map(np.testing.assert_array_equal, begun["params"]["backbone"], variables["params"]["backbone"])
    styled = small(tasks=("style",))
    params = jax.eval_shape(styled.init, 0)["params"]
    assert styled.begin(params, histogram) is params


def test_published_weights_go_to_every_trunk_and_no_head(small):
    built = small(trunks=2)
    before = jax.jit(built.init)(0)
    after = built.load(before, "some.h5")
    for kind in ("params", "batch_stats"):
        for name in ("backbone", "backbone_spp"):
            shifted = jax.tree.map(lambda x: x + 1, before[kind][name])
            jax.tree.map(np.testing.assert_array_equal, after[kind][name], shifted)
    jax.tree.map(np.testing.assert_array_equal, after["params"]["heads"], before["params"]["heads"])


def test_a_network_without_published_weights_says_so():
    plain = Model(Stem(), {}, example_canvas, {})
    with pytest.raises(ValueError, match=r"model\.weights must be '', not 'imagenet'"):
        plain.load({}, "imagenet")
