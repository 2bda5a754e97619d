"""Several trunks side by side, and the column over a trunk's levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.config import ConfigError, get_config
from mtp.models import mtp_nasnet
from mtp.models.backbones import BACKBONES
from mtp.models.heads import LevelsColumn
from mtp.runtime.settings import compiler_options
from tests import runs

SIZES = np.array([(33, 47), (64, 40)], np.int32)


@pytest.fixture(autouse=True)
def _backbones(monkeypatch):
    """Two that compile in a moment."""
    monkeypatch.setitem(BACKBONES, "small", runs.SMALL)
    monkeypatch.setitem(BACKBONES, "other", runs.SMALL)


def built(backbone, columns, **options):
    config = get_config().model
    config.update(
        {"backbone": backbone, "columns": columns, "tasks": ("distribution",), "fcn_hidden": 4, **options}
    )
    return mtp_nasnet.build(config, 5, 0)


def inputs():
    rng = np.random.default_rng(0)
    return {
        "images": jnp.asarray(rng.integers(0, 256, (2, 65, 65, 3), dtype=np.uint8)),
        "sizes": jnp.asarray(runs.SMALL.reads(SIZES)),
    }


def once(function):
    return jax.jit(function, compiler_options=compiler_options(run_once=True))


def test_the_last_maps_of_several_trunks_are_the_channels_of_one():
    model = built(("small", "other"), ("gap",))
    variables = model.init(0)
    assert set(variables["params"]) == {"backbone_1", "backbone_2", "heads"} == set(model.groups)
    both = once(lambda v: model.details(v, inputs()))(variables)["map"]
    single = built("small", ("gap",))
    kinds = ("params", "batch_stats")
    alone = [
        once(lambda v: single.details(v, inputs()))(
            {kind: {"backbone": variables[kind][f"backbone_{n}"]} for kind in kinds}
            | {
                "params": {
                    "backbone": variables["params"][f"backbone_{n}"],
                    "heads": single.init(0)["params"]["heads"],
                }
            }
        )["map"]
        for n in (1, 2)
    ]
    np.testing.assert_allclose(both, np.concatenate(alone, axis=-1), rtol=1e-6)
    assert not np.allclose(alone[0], alone[1])


def test_several_trunks_train_and_load_each_for_itself(monkeypatch):
    model = built(("small", "other"), ("gap", "spp"))
    assert model.groups == {"heads": "heads", "backbone_1": "trunk", "backbone_2": "trunk"}
    with pytest.raises(ConfigError, match="no published weights"):
        model.load(model.init(0), "imagenet")


def test_trunks_of_other_lines_cannot_stand_side_by_side():
    with pytest.raises(
        ConfigError, match="read the same lines of a picture at one stride; tiny, lite0 do not"
    ):
        built(("tiny", "lite0"), ("gap",))


def test_a_trunk_without_levels_cannot_have_the_column():
    with pytest.raises(
        ConfigError, match=r"model\.columns=levels needs a trunk that gives its levels; small does not"
    ):
        built("small", ("levels",))


@pytest.mark.parametrize("name", ["tiny", "lite0"])
def test_the_levels_of_a_trunk_end_with_its_last_map(name):
    module = BACKBONES[name].module(dtype=jnp.float32, remat=False)
    given = jax.ShapeDtypeStruct((2, 97, 65, 3), jnp.float32), jax.ShapeDtypeStruct((2, 2), jnp.int32)
    shapes = jax.eval_shape(
        lambda *a: module.init_with_output(jax.random.key(0), *a, method="levels")[0], *given
    )
    maps = [x.shape for x, _ in shapes]
    assert maps[-1] == (
        2,
        *jax.eval_shape(lambda *a: module.init_with_output(jax.random.key(0), *a)[0], *given)[0].shape[1:],
    )
    sides = [shape[1] for shape in maps]
    assert sides == sorted(sides, reverse=True) and len(maps) == {"tiny": 5, "lite0": 8}[name]


@pytest.mark.parametrize(
    ("levels", "channels"), [(1, 1280), (2, 1280 + 320), (3, 1280 + 320 + 192), (99, 2064)]
)
def test_the_column_has_the_last_levels_of_each_trunk(levels, channels):
    """Mean and deviation of the published channels of EfficientNet-Lite's stages; more than there are is all."""
    for backbone, trunks in (("lite0", 1), (("lite0", "lite1"), 2)):
        model = built(backbone, ("levels",), levels=levels)
        heads = jax.eval_shape(lambda model=model: model.init(0))["params"]["heads"]
        assert heads["levels"]["distribution"]["kernel"].shape == (2 * trunks * channels, 5)


def test_the_column_pools_the_cells_of_each_picture_alone():
    """Mean and deviation by numpy, whatever stands outside."""
    rng, sizes = np.random.default_rng(0), [jnp.array([[5, 7], [2, 3]]), jnp.array([[3, 4], [1, 2]])]
    maps = [rng.normal(size=(2, 5, 7, 3)), rng.normal(size=(2, 3, 4, 2))]
    levels = [(jnp.asarray(x, jnp.float32), s) for x, s in zip(maps, sizes, strict=True)]
    module = LevelsColumn({"style": 2})
    variables = module.init(jax.random.key(0), levels)
    logits, sown = module.apply(variables, levels, mutable=["intermediates"])
    (features,) = sown["intermediates"]["features"]
    for i in range(2):
        expected = []
        for x, s in zip(maps, sizes, strict=True):
            cells = x[i, x.shape[1] - s[i, 0] :, x.shape[2] - s[i, 1] :].reshape(-1, x.shape[3])
            expected += [cells.mean(0), np.sqrt(cells.var(0) + 1e-6)]
        np.testing.assert_allclose(features[i], np.concatenate(expected), rtol=1e-4, atol=1e-6)
    dense = variables["params"]["style"]
    np.testing.assert_allclose(
        logits["style"], features @ dense["kernel"] + dense["bias"], rtol=1e-4, atol=1e-6
    )


def test_a_map_of_equal_cells_passes_finite_gradients():
    levels = [(jnp.ones((1, 3, 3, 2)), jnp.array([[3, 3]]))]
    module = LevelsColumn({"style": 2})
    variables = module.init(jax.random.key(0), levels)
    gradient = jax.grad(lambda x: module.apply(variables, [(x, levels[0][1])])["style"].sum())(levels[0][0])
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("columns", [("gap", "spp"), ("spp", "gap")])
def test_replaced_last_layers_are_one_layer_on_the_features_whatever_the_order_of_the_columns(columns):
    """Also of parameters that went through a jitted function, which sorts their names."""
    model = built("small", columns)
    variables = jax.jit(model.init)(0)
    features = np.asarray(once(lambda v: model.last_layers.features(v, inputs()))(variables))
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(features.shape[1], 5)), rng.normal(size=5)
    params = model.last_layers.replaced(variables["params"], {"distribution": (kernel, bias)})
    logits, _ = once(lambda v: model.logits(v, inputs()))({**variables, "params": params})
    np.testing.assert_allclose(logits["distribution"], features @ kernel + bias, rtol=1e-3, atol=1e-3)
    directly = model.last_layers.logits(params, jnp.asarray(features))["distribution"]
    np.testing.assert_allclose(directly, logits["distribution"], rtol=1e-4, atol=1e-4)
