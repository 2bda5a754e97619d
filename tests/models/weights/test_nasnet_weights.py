"""Keras weight files: both formats, with and without the classifier, and files that do not fit."""

import hashlib
import os

import h5py
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import requests
from keras.src.legacy.saving import legacy_h5_format

from mtp.config import get_config
from mtp.models import mtp_nasnet
from mtp.models.nasnet import NASNET_A, NASNet
from mtp.models.weights import Weights, WeightsError, imagenet_probabilities
from mtp.models.weights import nasnet as pretrained
from mtp.models.weights.keras_order import saved_layers
from mtp.ops.canvas import to_float
from mtp.runtime.settings import compiler_options
from tests.models.keras_nasnet import computed, keras_nasnet

SIZE = (64, 49)
# Keras' variables predate numpy 2's copy keyword
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def keras_model(name: str, top: bool) -> keras.Model:
    return keras_nasnet(name, SIZE, top)


def save_legacy(model: keras.Model, path) -> None:
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.fixture(scope="module")
def with_top() -> keras.Model:
    return keras_model("tiny", top=True)


@pytest.fixture(scope="module")
def template():
    images = jax.ShapeDtypeStruct((1, 65, 65, 3), jnp.float32)
    return jax.eval_shape(
        NASNet(NASNET_A["tiny"]).init, jax.random.key(0), images, jax.ShapeDtypeStruct((1, 2), jnp.int32)
    )


@pytest.fixture
def legacy(with_top, tmp_path):
    save_legacy(with_top, tmp_path / "weights.h5")
    return tmp_path / "weights.h5"


def keras_arrays(model) -> dict[tuple[str, str], np.ndarray]:
    return {(layer.name, v.name): np.asarray(v.value) for layer in model.layers for v in layer.weights}


def arrays(weights) -> dict[tuple[str, str], np.ndarray]:
    found = {}
    for tree in (weights.params, weights.batch_stats):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            found[path[-2].key, path[-1].key] = np.asarray(leaf)
    top = weights.top or {}
    return found | {("predictions", name): np.asarray(values) for name, values in top.items()}


@pytest.mark.parametrize(
    ("name", "top"), [("tiny", True), ("tiny", False), ("mobile", True), ("large", True)]
)
def test_the_order_of_layers_is_keras(name, top):
    assert saved_layers(NASNET_A[name], top=top) == [
        x.name for x in keras_model(name, top).layers if x.weights
    ]


@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("legacy_format", [True, False])
def test_every_array_of_both_formats(top, legacy_format, template, tmp_path):
    model = keras_model("tiny", top)
    path = tmp_path / ("w.h5" if legacy_format else "w.weights.h5")
    save_legacy(model, path) if legacy_format else model.save_weights(path)
    ours, theirs = arrays(pretrained.read(path, "tiny", template)), keras_arrays(model)
    assert set(ours) == set(theirs)
    for key, values in theirs.items():
        np.testing.assert_array_equal(ours[key], values)


def test_names_inside_a_legacy_file_mean_nothing(legacy, with_top, template, tmp_path):
    renamed = tmp_path / "renamed.h5"
    with h5py.File(legacy) as old, h5py.File(renamed, "w") as new:
        names = [f"layer_{i}" for i in range(len(old.attrs["layer_names"]))]
        for name, before in zip(names, old.attrs["layer_names"], strict=True):
            old.copy(old[before], new, name)
        new.attrs["layer_names"] = names
    found = arrays(pretrained.read(renamed, "tiny", template))
    for key, values in keras_arrays(with_top).items():
        np.testing.assert_array_equal(found[key], values)


def test_with_the_classifier_the_1000_probabilities_are_keras(legacy, with_top, template):
    weights = pretrained.read(legacy, "tiny", template)
    picture = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    module = NASNet(NASNET_A["tiny"])

    def probabilities(images, sizes):
        variables = {"params": weights.params, "batch_stats": weights.batch_stats}
        x, map_sizes = module.apply(variables, to_float(images, sizes), sizes)
        return imagenet_probabilities(x, map_sizes, weights.top)

    with jax.default_matmul_precision("highest"):
        step = jax.jit(probabilities, compiler_options=compiler_options(run_once=True))
        ours = step(picture[:, :-1], jnp.array([[63, 49]], jnp.int32))
        theirs, _ = computed(with_top, picture)
    assert ours.shape == (1, 1000)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-8)


def change(path, edit) -> None:
    with h5py.File(path, "a") as file:
        edit(file)


def drop_array(file):
    group = file["stem_bn1"]
    group.attrs["weight_names"] = group.attrs["weight_names"][:-1]


def drop_layer(file):
    file.attrs["layer_names"] = [n for n in file.attrs["layer_names"] if n != "normal_conv_1_0"]


def misshape(file):
    name = file["stem_conv1"].attrs["weight_names"][0]
    del file["stem_conv1"][name]
    file["stem_conv1"][name] = np.zeros((3, 3, 3, 17))


def add_layer(file):
    extra = file.create_group("extra")
    extra["w"] = np.zeros(3)
    extra.attrs["weight_names"] = ["w"]
    file.attrs["layer_names"] = [*file.attrs["layer_names"], "extra"]


def replace(name, values):
    """Put other numbers into the stem's array of this position."""

    def edit(file):
        group = file["stem_bn1"]
        member = group.attrs["weight_names"][name]
        shape = group[member].shape
        del group[member]
        group[member] = np.broadcast_to(values, shape)

    return edit


def misname_array(file):
    group = file["stem_bn1"]
    group.attrs["weight_names"] = ["nowhere", *group.attrs["weight_names"][1:]]


def misname_layer(file):
    file.attrs["layer_names"] = ["nowhere", *file.attrs["layer_names"][1:]]


def group_for_array(file):
    group = file["stem_bn1"]
    member = group.attrs["weight_names"][0]
    del group[member]
    group.create_group(member)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (replace(0, np.nan), r"stem_bn1/gamma: 16 of 16 numbers are not finite"),
        (replace(1, [0.0] * 15 + [np.inf]), r"stem_bn1/beta: 1 of 16 numbers are not finite"),
        (replace(2, np.float64(1e300)), r"stem_bn1/moving_mean: 16 of 16 numbers are not finite"),
        (replace(3, -1.0), r"stem_bn1/moving_variance: a variance is negative"),
        (replace(0, b"text"), r"stem_bn1/gamma must hold floating-point numbers"),
        (misname_array, r"stem_bn1/nowhere is missing; there are "),
        (misname_layer, r"/nowhere is missing; there are "),
        (group_for_array, r"is no Dataset"),
        (drop_array, r"stem_bn1/moving_variance is missing"),
        (drop_layer, r"must have shape|has .* more than|is missing"),
        (misshape, r"stem_conv1/kernel must have shape \(3, 3, 3, 16\), but has \(3, 3, 3, 17\)"),
        (add_layer, r"but has 172"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_that_names_the_array(edit, message, legacy, template):
    change(legacy, edit)
    with pytest.raises(WeightsError, match=message):
        pretrained.read(legacy, "tiny", template)


def test_keras_3_files_that_do_not_fit(with_top, template, tmp_path):
    path = tmp_path / "w.weights.h5"
    with_top.save_weights(path)
    change(path, lambda file: file.__delitem__("layers/separable_conv2d_3/vars/1"))
    with pytest.raises(WeightsError, match=r"/pointwise_kernel is missing"):
        pretrained.read(path, "tiny", template)
    with_top.save_weights(path)
    change(path, lambda file: file.create_dataset("layers/conv2d_999/vars/0", data=np.zeros(3)))
    with pytest.raises(WeightsError, match=r"conv2d_999.* left over"):
        pretrained.read(path, "tiny", template)
    with_top.save_weights(path)
    change(path, lambda file: file.move("layers/conv2d_2/vars/0", "layers/conv2d_2/vars/7"))
    with pytest.raises(WeightsError, match=r"/layers/conv2d_2/vars/0 is missing; there are 7"):
        pretrained.read(path, "tiny", template)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(WeightsError, match="must be a whole HDF5 file"):
        pretrained.read(path, "tiny", template)


def test_what_is_not_a_weights_file(template, tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(WeightsError, match="must be a whole HDF5 file"):
        pretrained.read(path, "tiny", template)
    path.unlink()
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(WeightsError, match="neither layer_names nor layers"):
        pretrained.read(path, "tiny", template)


def test_a_trunk_gets_the_weights(legacy, with_top, template):
    loaded = pretrained.load(template, str(legacy), "tiny")
    found, expected = arrays(Weights(**loaded, top=None)), keras_arrays(with_top)
    assert {key for key in expected if key[0] != "predictions"} == set(found)
    for key, values in found.items():
        np.testing.assert_array_equal(values, expected[key])


def test_a_file_is_named_by_its_hash(legacy):
    told = pretrained.origin(str(legacy), "tiny")
    assert told["file"] == "weights.h5"
    assert told["sha256"] == hashlib.sha256(legacy.read_bytes()).hexdigest()
    assert pretrained.origin("", "tiny") == {"weights": "from scratch"}


def test_every_trunk_of_a_model_gets_the_weights(legacy, with_top):
    config = get_config().model
    config.update({"backbone": "tiny", "trunks": 2, "fcn_hidden": 8})
    model = mtp_nasnet.build(config, 5, 3)
    fresh = jax.tree.map(lambda x: jnp.zeros(x.shape), jax.eval_shape(model.init, 0))
    fresh["params"]["heads"] = {"w": jnp.ones(3)}
    loaded = model.load(fresh, str(legacy))
    stem = np.asarray(with_top.get_layer("stem_conv1").kernel)
    for name in ("backbone", "backbone_spp"):
        np.testing.assert_array_equal(loaded["params"][name]["stem_conv1"]["kernel"], stem)
    np.testing.assert_array_equal(loaded["params"]["heads"]["w"], 1)


def test_without_network_the_error_says_what_to_fetch_and_where_to_put_it(monkeypatch):
    def offline(*_, **__):
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(pretrained.pooch, "retrieve", offline)
    with pytest.raises(
        WeightsError, match=r"(?s)NASNet-mobile-no-top\.h5.*md5 1ed92395.*put it at .*no-top\.h5"
    ):
        pretrained.fetch("mobile")


def test_no_published_weights_for_tiny_and_no_such_file():
    with pytest.raises(WeightsError, match="published for mobile and large"):
        pretrained.locate("imagenet", "tiny")
    with pytest.raises(WeightsError, match=r"there is no file nowhere\.h5"):
        pretrained.locate("nowhere.h5", "mobile")


def test_published_files_are_keras():
    from keras.src.applications import nasnet

    ours = {pretrained.BASE + name for name, _ in pretrained.FILES.values()}
    theirs = {value for name, value in vars(nasnet).items() if "WEIGHT_PATH" in name}
    assert ours == theirs
