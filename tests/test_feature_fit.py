"""--config.train.method=features end to end: an ordinary run, whose features are kept by the pictures' content."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mtp.data.votes import load as votes
from mtp.inference.feature_store import FeatureStore
from mtp.inference.predictor import Predictor
from tests import runs

pytestmark = pytest.mark.slow
FEATURES = (
    "--config.train.method=features",
    "--config.model.columns=('gap','spp')",
    "--config.optim.ema_decay=0.0",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Whose cache keeps the features."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _at_home(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))


@pytest.fixture(scope="module")
def fitted(home, tmp_path_factory):
    """(workdir, photos, what was printed)."""
    folder = tmp_path_factory.mktemp("fitted")
    photos = runs.make_folder(folder / "photos", 60, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        return folder / "run", photos, runs.run(runs.train(folder / "run", photos, *FEATURES))


def kept(home):
    return sorted((home / ".cache" / "mtp" / "features").rglob("*.npz"))


def test_a_fit_is_an_ordinary_run_that_knows_more_than_the_mean_histogram(fitted):
    workdir, _, printed = fitted
    assert (
        "the last layers are fitted to features of the trunk on the plain path, with the validation"
        in printed
    )
    assert "distribution: fitted to" in printed and "regularised by" in printed
    rows = {row["row"]: row["metrics"] for row in json.loads((workdir / "results.json").read_text())["rows"]}
    assert rows["model"]["emd_r2"]["value"] < 0.8 * rows["mean histogram"]["emd_r2"]["value"]
    assert rows["model"]["srcc"]["value"] > 0.8
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert set().union(*lines) >= {"train/strength_distribution", "train/strength_two_category"}


def test_validation_pictures_train_and_count_as_trained_on(fitted):
    """Their names are in no split that is left, and an evaluation on them is refused as on any training picture."""
    workdir, photos, printed = fitted
    splits = votes.load(photos).splits
    learnt = splits.count("train") + splits.count("validation")
    assert splits.count("validation") and f"({learnt} train, 0 validation, " in printed
    assert f"distribution: fitted to {learnt} pictures" in printed
    assert len(np.load(workdir / "training_pictures.npy")) == learnt
    line = runs.error_line([*runs.evaluate(workdir), "--config.eval.split=validation"])
    assert f"{splits.count('validation')} pictures of the split validation" in line and "trained on" in line


def test_it_is_finished_and_evaluated_and_predicts_as_any(fitted, tmp_path):
    workdir, photos, printed = fitted
    table = printed.split("\n\n")[1]
    again = runs.run(runs.train(workdir, photos, *FEATURES))
    assert table in again and "fitted to" not in again
    before = (workdir / "predictions.csv").read_bytes()
    assert table in runs.run(runs.evaluate(workdir))
    assert (workdir / "predictions.csv").read_bytes() == before
    assert "predictions.csv" in runs.run(runs.predict(workdir, photos))


def test_another_seed_reads_no_picture_of_the_training_again(fitted, home, tmp_path):
    """Of weights from scratch the seed tells the trunk: it has features of its own. Copies elsewhere share theirs."""
    _, photos, _ = fitted
    before = kept(home)
    assert before
    shutil.copytree(photos, tmp_path / "elsewhere")
    moved = [*FEATURES, "--config.loss.reliability=none"]
    runs.run(runs.train(tmp_path / "run", tmp_path / "elsewhere", *moved))
    assert kept(home) == before
    runs.run(runs.train(tmp_path / "other", photos, *FEATURES, "--config.seed=1"))
    assert len(kept(home)) == 2 * len(before)


def test_features_that_were_cut_short_are_computed_again(fitted, home, tmp_path):
    workdir, photos, _ = fitted
    for path in kept(home):
        path.write_bytes(path.read_bytes()[:100])
    runs.run(runs.train(tmp_path / "run", photos, *FEATURES))
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == (workdir / "predictions.csv").read_bytes()


def test_runs_that_need_the_same_features_at_once_compute_them_once(fitted, tmp_path):
    workdir, photos, _ = fitted
    with runs.small_backbone():
        config = Predictor.load(workdir).config
    pictures, seen = votes.load(photos), []

    def computed(indices):
        time.sleep(0.2)
        seen.extend(indices.tolist())
        return np.tile(indices[:, None], 3).astype(np.float32)

    def features(wanted):
        return FeatureStore(config, "some", tmp_path).features(
            pictures, wanted, "native", lambda missing: computed
        )

    rows = [np.arange(12), np.arange(12), np.arange(4, 16), np.arange(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(features, rows))
    assert sorted(seen) == list(range(16))
    for values, wanted in zip(found, rows, strict=True):
        np.testing.assert_array_equal(values[:, 0], wanted)


def test_the_trunk_is_the_one_that_was_loaded(fitted, tmp_path):
    """And the last layers are the fit: both columns' mean is one linear layer."""
    workdir, _, _ = fitted
    with runs.small_backbone():
        predictor = Predictor.load(workdir)
        initial = predictor.model.init(predictor.config.seed)
        ours, theirs = predictor.variables["params"]["backbone"], initial["params"]["backbone"]
        for name in ours:
            for leaf in ours[name]:
                np.testing.assert_allclose(ours[name][leaf], theirs[name][leaf], rtol=1e-6)


def test_the_validation_split_which_it_trains_on_cannot_be_the_table(fitted, tmp_path):
    _, photos, _ = fitted
    line = runs.error_line(runs.train(tmp_path / "run", photos, *FEATURES, "--config.eval.split=validation"))
    assert "eval.split cannot be validation; choose test" in line


@pytest.mark.parametrize(
    "options", [("--config.model.columns=('fcn','spp')",), ("--config.model.heads=cascade",)]
)
def test_what_is_not_linear_in_features_is_refused_in_a_line(fitted, tmp_path, options):
    _, photos, _ = fitted
    line = runs.error_line(runs.train(tmp_path / "run", photos, *FEATURES, *options))
    assert "train.method=features needs logits that are linear in features of a picture" in line
