"""The predictor of a trained workdir: the same numbers for the same pictures, however they come, and strict loading."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from mtp.config import configured, flat
from mtp.data import images
from mtp.data.load import load
from mtp.data.pictures import of_arrays, of_files, of_folder
from mtp.evaluation import plan
from mtp.files import DamagedFileError
from mtp.inference import columns
from mtp.inference.predictor import TRAINED, Predictor
from mtp.runtime.checkpoint import CheckpointError
from tests import runs

LIMIT = 1_000_000  # pixels
TASKS = ("distribution", "two_category", "style")


@pytest.fixture(scope="module")
def backbone():
    with runs.small_backbone():
        yield


@pytest.fixture(scope="module")
def workdir(trained_small) -> Path:
    return trained_small[0]


@pytest.fixture(scope="module")
def predictor(backbone, workdir) -> Predictor:
    return Predictor.load(workdir)


@pytest.fixture(scope="module")
def dataset(predictor):
    return load(predictor.config.data)


@pytest.fixture
def copy(backbone, workdir, tmp_path) -> Path:
    """A workdir to be damaged."""
    return shutil.copytree(workdir, tmp_path / "run")


def best(workdir: Path) -> Path:
    """The folder of the checkpoint that is loaded."""
    return workdir / "checkpoints" / str(json.loads((workdir / "results.json").read_text())["step"])


def test_it_predicts_what_the_run_wrote(predictor, dataset, workdir, tmp_path):
    canvases = plan.canvases(predictor, dataset)
    found = predictor.predict(dataset, dataset.indices("test"), canvases=canvases)
    columns.write(tmp_path / "again.csv", columns.predicted(dataset, found, predictor.facts))
    written, again = (runs.read_csv(folder / name) for folder, name in (
        (workdir, "predictions.csv"), (tmp_path, "again.csv")
    ))  # fmt: skip
    assert len(written) == len(again) == 5
    for row, same in zip(written, again, strict=True):
        assert {name: row[name] for name in same} == same
    assert predictor.step == int(best(workdir).name) and predictor.meta["steps"] == 8


def test_paths_arrays_and_rows_give_the_same_bits(predictor, dataset, trained_small):
    chosen = np.array([7, 0, 12, 3])
    paths = [trained_small[1] / dataset.images[index] for index in chosen]
    files = of_files(paths, LIMIT)
    arrays = of_arrays([images.decode(path.read_bytes(), path.name, LIMIT) for path in paths])
    from_rows, from_arrays = predictor.predict(dataset, chosen), predictor.predict(arrays)
    # files are sorted by name
    place = np.array([files.images.index(str(path)) for path in paths])
    from_files = predictor.predict(files, place)
    for task in TASKS:
        np.testing.assert_array_equal(from_arrays.of_task[task], from_rows.of_task[task])
        np.testing.assert_array_equal(from_files.of_task[task], from_rows.of_task[task])
    features = [predictor.features(*rows) for rows in ((dataset, chosen), (arrays,), (files, place))]
    assert features[0].shape == (4, 12) and features[0].dtype == np.float32
    np.testing.assert_array_equal(features[1], features[0])
    np.testing.assert_array_equal(features[2], features[0])


def test_a_picture_alone_and_among_others(predictor, dataset):
    several = np.arange(9)
    together, features = predictor.predict(dataset, several), predictor.features(dataset, several)
    assert len({tuple(size) for size in dataset.sizes[several]}) == 2
    for index in (0, 4):
        alone = predictor.predict(dataset, np.array([index]))
        for task in TASKS:
            np.testing.assert_allclose(alone.of_task[task][0], together.of_task[task][index], rtol=1e-5)
        own = predictor.features(dataset, np.array([index]))
        np.testing.assert_allclose(own[0], features[index], rtol=1e-4, atol=1e-6)


def test_rows_come_in_the_order_of_the_indices(predictor, dataset):
    """Also where pictures of one canvas are batched together."""
    config = predictor.config.copy_and_resolve_references()
    config.eval.canvases, config.eval.batch_pixels = 2, 3 * 51 * 60
    split = dataclasses.replace(predictor, config=config)
    order = np.array([5, 3, 8, 0, 1, 6])
    whole = predictor.predict(dataset)
    found = split.predict(dataset, order)
    assert len(split.canvases([(dataset, order, "")])) == 2
    np.testing.assert_array_equal(found.indices, order)
    for task in TASKS:
        np.testing.assert_allclose(found.of_task[task], whole.of_task[task][order], rtol=1e-5)
    np.testing.assert_allclose(found.distribution.sum(axis=1), 1, rtol=1e-12)


def test_details_are_those_of_the_predictions(predictor, dataset):
    """The map's mean are the features; the columns' logits, which the SPP column does not have by cell, their parts."""
    chosen = np.array([0, 1])
    features = predictor.features(dataset, chosen)
    for index, row, found in zip(chosen, features, predictor.details(dataset, chosen), strict=True):
        height, width = (side - 1 + side % 2 for side in dataset.sizes[index])
        cells = tuple(((side - 1) // 2 + 1) // 2 for side in (height, width))
        assert found["map"].shape == (*cells, 12)
        np.testing.assert_allclose(found["map"].mean(axis=(0, 1)), row, rtol=1e-4, atol=1e-6)
        assert set(found["cells"]) == {"fcn"}
        assert {task: cell.shape for task, cell in found["cells"]["fcn"].items()} == {
            "distribution": (*cells, 5), "two_category": (*cells, 2), "style": (*cells, 2),
        }  # fmt: skip


def test_cells_of_a_single_column_average_to_its_prediction(predictor, dataset, backbone):
    config = predictor.config.copy_and_resolve_references()
    config.model.columns = ("gap",)
    untrained = Predictor.untrained(config, 5)
    found = next(untrained.details(dataset, np.array([2])))
    logits = found["cells"]["gap"]["distribution"].mean(axis=(0, 1))
    expected = untrained.predict(dataset, np.array([2])).distribution[0]
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), expected, rtol=1e-5)


def test_it_knows_its_training_pictures_by_content(predictor, dataset, trained_small, tmp_path):
    train, test = dataset.indices("train"), dataset.indices("test")
    assert predictor.trained_on(dataset, train) == len(train) == len(predictor.trained)
    assert predictor.trained_on(dataset, test) == 0
    photos = trained_small[1]
    for number, index in enumerate((*train[:3], *test[:2])):
        shutil.copy(photos / dataset.images[index], tmp_path / f"renamed {number}.png")
    renamed = of_folder(tmp_path, LIMIT)
    assert predictor.trained_on(renamed, np.arange(len(renamed))) == 3


def test_other_variables_share_the_programs(predictor, dataset):
    rows = np.arange(4)
    before = predictor.predict(dataset, rows)
    compiled = predictor.programs.probabilities._cache_size()
    other = predictor.with_variables(jax.tree.map(lambda x: x * 0.5, predictor.variables))
    after = other.predict(dataset, rows)
    assert other.programs is predictor.programs
    assert predictor.programs.probabilities._cache_size() == compiled
    assert np.abs(after.distribution - before.distribution).max() > 1e-4
    np.testing.assert_array_equal(predictor.predict(dataset, rows).distribution, before.distribution)


def test_the_optimisers_state_is_not_read(copy, predictor):
    (best(copy) / "training.bin").unlink()
    loaded = Predictor.load(copy)
    for a, b in zip(jax.tree.leaves(loaded.variables), jax.tree.leaves(predictor.variables), strict=True):
        np.testing.assert_array_equal(a, b)


def test_any_kept_step_may_be_loaded(predictor, workdir, backbone):
    steps = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    assert Predictor.load(workdir, step=steps[0]).step == steps[0]
    with pytest.raises(CheckpointError, match=r"holds steps .*, not 3: choose one of them"):
        Predictor.load(workdir, step=3)


def test_another_network_is_refused(backbone, workdir, predictor):
    config = predictor.config.copy_and_resolve_references()
    config.model.backbone = "tiny"
    with pytest.raises(CheckpointError, match="Likely another backbone") as caught:
        Predictor.load(workdir, config=config)
    said = str(caught.value)
    assert "stored nothing, wanted float32" in said and len(said.splitlines()) == 7


def flip_a_byte(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def test_a_changed_byte_of_the_variables_is_refused(copy):
    flip_a_byte(best(copy) / "model.bin")
    with pytest.raises(CheckpointError, match="is damaged: its model does not have the checksum"):
        Predictor.load(copy)


def test_a_changed_digit_of_the_threshold_is_refused(copy):
    path = best(copy) / "meta.json"
    text = path.read_text()
    assert text.count('"threshold": 3.0') == 1
    path.write_text(text.replace('"threshold": 3.0', '"threshold": 3.5'))
    with pytest.raises(CheckpointError, match="is damaged: its meta does not have the checksum"):
        Predictor.load(copy)


@pytest.mark.parametrize("state", ["is missing", "holds others"])
def test_training_pictures_are_those_that_the_checkpoint_names(state, copy):
    (copy / TRAINED).unlink()
    if state == "holds others":
        np.save(copy / TRAINED, np.arange(3, dtype=np.uint64))
    with pytest.raises(CheckpointError, match=rf"{TRAINED} must hold the hashes .* {state}"):
        Predictor.load(copy)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array", bytes(300)])
def test_damaged_hashes_of_the_training_pictures_are_named(content, copy):
    (copy / TRAINED).write_bytes(content)
    with pytest.raises(
        DamagedFileError, match=rf"{TRAINED} is damaged \(.*\); copy the whole workdir again, or"
    ) as told:
        Predictor.load(copy)
    assert "\n" not in str(told.value)


def test_a_folder_without_a_checkpoint(backbone, tmp_path):
    with pytest.raises(CheckpointError, match="must hold a checkpoint, but it has none"):
        Predictor.load(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_the_options_of_an_evaluation_may_be_others(backbone, workdir, predictor, dataset):
    changed = configured({**flat(predictor.config), "eval.size": "warp=64", "eval.canvases": 2})
    square, rows = Predictor.load(workdir, config=changed), np.arange(3)
    np.testing.assert_array_equal(square.sizes(dataset, rows), np.full((3, 2), 64))
    assert list(square.canvases([(dataset, rows, "")])) == [(63, 63)]
    by_rule = predictor.predict(dataset, rows, rule="warp=64")
    for task in TASKS:
        np.testing.assert_array_equal(square.predict(dataset, rows).of_task[task], by_rule.of_task[task])
    assert np.abs(by_rule.distribution - predictor.predict(dataset, rows).distribution).max() > 1e-5
