"""Frozen features: each picture's own, whatever batch; parts that survive a kill; other data is refused."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.tables import features
from mtp.config import get_config
from mtp.data import images
from mtp.data.schema import Dataset
from mtp.models.nasnet import NASNET_A, NASNet
from mtp.ops.pyramid import global_average
from mtp.runtime.settings import compiler_options
from mtp.workdirs import UsageError

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
        "noise", tuple(f"{i}.png" for i in range(5)), votes, np.array(SIZES, np.int32),
        ("train", "train", "validation", "test", "test"), None, np.full((5, 0), np.nan, np.float32), (), {},
        lambda index: files[index],
    )  # fmt: skip


@pytest.fixture(scope="module")
def backbone():
    config = get_config()
    config.update_from_flattened_dict(
        {"model.backbone": "tiny", "eval.split": "all", "eval.canvases": 1, "input.threads": 1}
    )
    trunk = NASNet(NASNET_A["tiny"])
    image = jnp.zeros((1, 63, 63, 3))
    variables = jax.jit(trunk.init)(jax.random.key(0, impl="rbg"), image, jnp.full((1, 2), 63, jnp.int32))
    return features.Backbone("untrained", config, variables)


@pytest.mark.slow
def test_parts_survive_and_every_picture_gets_its_own_features(dataset, backbone, tmp_path, monkeypatch):
    out = tmp_path / "features.npz"
    whole = features.extract(backbone, dataset, out)
    # alone, cut to odd sides as the stem sees it
    trunk = NASNet(NASNET_A["tiny"])
    assert whole.values.shape == (5, NASNET_A["tiny"].features)
    picture = np.asarray(_decoded(dataset, 3), np.float32)[None] / 127.5 - 1
    height, width = (side - 1 + side % 2 for side in picture.shape[1:3])
    apply = jax.jit(trunk.apply, compiler_options=compiler_options())
    alone = global_average(
        *apply(backbone.variables, jnp.asarray(picture[:, :height, :width]), jnp.array([[height, width]]))
    )
    np.testing.assert_allclose(whole.values[3], alone[0], atol=2e-4, rtol=1e-3)

    # killed after the first of three parts
    monkeypatch.setattr(features, "PART", 2)
    calls = []
    real = features._compute

    def dying(*arguments):
        compute = real(*arguments)

        def some(rows):
            calls.append(len(rows))
            if len(calls) == 2:
                raise KeyboardInterrupt
            return compute(rows)

        return some

    monkeypatch.setattr(features, "_compute", dying)
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
    monkeypatch.setattr(features, "_compute", lambda *_: lambda rows: np.ones((len(rows), 3), np.float32))
    first = features.extract(backbone, dataset, out)
    assert first.rows("test").tolist() == [3, 4]
    assert features.extract(backbone, dataset, out).about == first.about
    other = dataclasses.replace(dataset, votes=dataset.votes + 1)
    with pytest.raises(UsageError, match="features of other data or weights"):
        features.extract(backbone, other, out)
