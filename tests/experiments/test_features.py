"""Frozen features: each picture's own, whatever batch; parts that survive a kill; other data is refused."""

import dataclasses
import io

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.bench import loading
from experiments.tables import features
from mtp.config import get_config
from mtp.data import images
from mtp.data.identity import picture_hashes
from mtp.data.schema import Dataset
from mtp.inference.predictor import Predictor
from mtp.models.backbones import BACKBONES
from mtp.ops.pyramid import global_average
from mtp.runtime.settings import compiler_options
from mtp.workdirs import UsageError
from tests.runs import small_backbone

SIZES = ((40, 52), (33, 64), (40, 52), (57, 35), (48, 48))


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    files = []
    for size in SIZES:
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    votes = rng.integers(1, 9, (5, 4))
    return Dataset(
        name="noise", images=tuple(f"{i}.png" for i in range(5)), votes=votes, sizes=np.array(SIZES, np.int32),
        splits=("train", "train", "validation", "test", "test"), groups=None,
        styles=np.full((5, 0), np.nan, np.float32), style_names=(), metadata={}, read=lambda index: files[index],
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small():
    with small_backbone():
        yield


@pytest.fixture(scope="module")
def backbone(small):
    config = get_config()
    config.update_from_flattened_dict(
        {"model.backbone": "small", "model.columns": ("gap",), "eval.canvases": 1, "input.threads": 1}
    )
    return features.Backbone("untrained", Predictor.untrained(config, 4))


def test_parts_survive_and_every_picture_gets_its_own_features(dataset, backbone, tmp_path, monkeypatch):
    out = tmp_path / "features.npz"
    whole = features.extract(backbone, dataset, out)
    assert whole.values.shape == (5, BACKBONES["small"].channels)
    # the trunk on a picture alone, cut to odd sides as the stem sees it
    trunk = BACKBONES["small"].module()
    variables = {kind: tree["backbone"] for kind, tree in backbone.predictor.variables.items()}
    picture = np.asarray(_decoded(dataset, 3), np.float32)[None] / 127.5 - 1
    height, width = (side - 1 + side % 2 for side in picture.shape[1:3])
    apply = jax.jit(trunk.apply, compiler_options=compiler_options())
    alone = global_average(
        *apply(variables, picture[:, :height, :width], np.array([[height, width]], np.int32))
    )
    np.testing.assert_allclose(whole.values[3], alone[0], atol=2e-4, rtol=1e-3)

    # killed after the first of three parts
    monkeypatch.setattr(features, "PART", 2)
    calls = []
    real = Predictor.features

    def dying(predictor, dataset, rows, **named):
        calls.append(len(rows))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(predictor, dataset, rows, **named)

    monkeypatch.setattr(Predictor, "features", dying)
    again = tmp_path / "again.npz"
    with pytest.raises(KeyboardInterrupt):
        features.extract(backbone, dataset, again)
    assert not again.exists()
    resumed = features.extract(backbone, dataset, again)
    assert calls == [2, 2, 2, 1]
    np.testing.assert_allclose(resumed.values, whole.values, atol=1e-5)
    assert resumed.about == whole.about and not again.with_suffix(".parts").exists()
    assert features.read(again).images.tolist() == list(dataset.images)


def _decoded(dataset, index):
    return images.decode(dataset.read(index), dataset.images[index], 10**8)


def test_a_file_of_other_votes_is_refused(dataset, backbone, tmp_path, monkeypatch):
    out = tmp_path / "features.npz"
    monkeypatch.setattr(Predictor, "features", lambda *_, **__: np.ones((5, 3), np.float32))
    first = features.extract(backbone, dataset, out)
    assert first.rows("test").tolist() == [3, 4]
    assert features.extract(backbone, dataset, out).about == first.about
    other = dataclasses.replace(dataset, votes=dataset.votes + 1)
    with pytest.raises(UsageError, match="features of other data or weights"):
        features.extract(backbone, other, out)


def test_a_workdir_gives_its_checkpoint_unless_that_has_seen_the_test_pictures(dataset, tmp_path):
    workdir, config = loading.untrained(tmp_path, "small"), get_config()
    config.model.backbone = "small"
    found = features.of_workdir(workdir, config, dataset)
    assert found.name == "small, step 0"
    # the head is no part of the features, so neither of what tells them apart
    config.model.fcn_hidden = 7
    assert found.sha256 == features.Backbone("", Predictor.untrained(config, 4)).sha256
    config.seed = 1
    assert found.sha256 != features.Backbone("", Predictor.untrained(config, 4)).sha256
    (tmp_path / "again").mkdir()
    seen = picture_hashes(dataset, np.array([0, 3])).tolist()
    workdir, config = loading.untrained(tmp_path / "again", "small", seen), get_config()
    config.model.backbone = "small"
    with pytest.raises(UsageError, match="1 test pictures of noise trained the backbone"):
        features.of_workdir(workdir, config, dataset)


@pytest.mark.parametrize(
    ("name", "backbone", "weights"),
    [("lite0", "lite0", "imagenet"), ("imagenet", "mobile", "imagenet"), ("a.h5", "mobile", "a.h5")],
)
def test_published_weights_go_by_a_name_or_a_file(dataset, monkeypatch, name, backbone, weights):
    monkeypatch.setattr(Predictor, "untrained", lambda config, ratings: config)
    assert features.is_published(name) and not features.is_published("runs/demo")
    config = features.published(name, get_config(), dataset).predictor
    assert (config.model.backbone, config.model.weights) == (backbone, weights)
