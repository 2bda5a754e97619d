"""Rows of parts of a split, and the style protocols: each over the pictures that it says."""

import dataclasses

import numpy as np
import pytest

from mtp.config import ConfigError, get_config
from mtp.data.schema import Dataset
from mtp.evaluation import breakdown, plan
from mtp.evaluation.distances import emd
from mtp.evaluation.rows import metric_rows
from mtp.evaluation.statistics import average_precision
from mtp.inference.facts import Facts
from mtp.inference.models import build_model
from mtp.inference.predictions import Predictions
from mtp.inference.predictor import Predictor
from mtp.ratings import histograms
from mtp.report import tables
from mtp.runtime.mesh import data_mesh

N, K, S = 60, 10, 3
RNG = np.random.default_rng(0)
NAMES = ("HDR", "Macro", "Duotones")


@pytest.fixture
def config():
    c = get_config()
    c.eval.bootstrap, c.eval.by = 20, "category"
    return c


@pytest.fixture
def dataset():
    """Twenty pictures train, forty test; ten of each were labelled to be tested on, two of each without a style."""
    tests = np.full((N, S), np.nan, np.float32)
    labelled = [*range(10), *range(30, 40)]
    tests[labelled] = RNG.integers(0, 2, (20, S))
    tests[labelled, labelled[0]] = 1
    tests[[0, 1, 30, 31]] = 0
    categories = [
        "animal;portrait" if i == 20 else ("animal", "portrait", "", "rare")[i % 3] for i in range(N)
    ]
    categories[59] = "rare"
    return Dataset(
        name="x",
        images=tuple(f"{i:02d}" for i in range(N)),
        votes=RNG.multinomial(100, np.full(K, 1 / K), N),
        sizes=np.full((N, 2), 64, np.int32),
        splits=("train",) * 20 + ("test",) * 40,
        groups=None,
        styles=np.full((N, S), np.nan, np.float32),
        style_names=NAMES,
        metadata={"category": tuple(categories)},
        read=lambda _: b"",
        style_tests=tests,
    )


def predict(indices):
    rng = np.random.default_rng(len(indices))
    return Predictions(
        np.asarray(indices),
        {
            "distribution": rng.dirichlet(np.ones(K), len(indices)),
            "two_category": rng.random(len(indices)),
            "style": rng.random((len(indices), S)),
        },
    )


FACTS = Facts(K, NAMES, "softmax", 5.0, 1.0, 0.5, (0.1,) * K)


def untrained(config):
    """A predictor of a configuration; its network is built and has no variables."""
    return Predictor.of(config, FACTS, build_model(config, FACTS), {}, mesh=data_mesh(1))


def test_a_row_for_each_value(dataset, config):
    predictions = predict(dataset.indices("test"))
    rows = breakdown.by_metadata(dataset, predictions, FACTS, config)
    column = [dataset.metadata["category"][i] for i in predictions.indices]
    # a value of one picture has no row, nor has the empty one; a cell of two values counts for both
    assert [row["row"] for row in rows] == ["model | animal", "model | portrait"]
    for row in rows:
        kept = np.array([row["row"].removeprefix("model | ") in cell.split(";") for cell in column])
        assert row["pictures"] == kept.sum() == row["metrics"]["emd_r2"]["n"]
        truth = histograms(dataset.votes[predictions.indices])[kept]
        expected = emd(truth, predictions.distribution[kept], 2).mean()
        assert row["metrics"]["emd_r2"]["value"] == pytest.approx(expected)


def test_a_column_that_is_not_there(dataset, config):
    config.eval.by = "theme"
    with pytest.raises(
        ConfigError, match=r"eval\.by must be a metadata column of x \(category\), not 'theme'"
    ):
        plan.check(untrained(config), dataset)
    config.eval.by = ""
    assert plan.check(untrained(config), dataset) == ()
    assert breakdown.by_metadata(dataset, predict(dataset.indices("test")), FACTS, config) == []


def test_style_protocols(dataset, config):
    more = plan.elsewhere(dataset, "test")
    assert more.tolist() == list(range(10)) and not len(plan.elsewhere(dataset, "validation"))
    sets = [predict(dataset.indices("test")), predict(more)]
    rows = breakdown.style_protocols(dataset, sets, FACTS, config)
    assert [(r["row"], r["pictures"], r["trained_on"]) for r in rows] == [
        ("split", 10, 0),
        ("split, without unlabelled", 8, 0),
        ("all style-test pictures", 20, 10),
        ("all style-test pictures, without unlabelled", 16, 8),
    ]
    truth = np.concatenate([dataset.style_tests[p.indices] for p in sets])
    score = np.concatenate([p.style for p in sets])
    known = ~np.isnan(truth).any(axis=1)
    expected = average_precision(truth[known, 1], score[known, 1], np.ones(20))
    assert rows[2]["metrics"]["ap_Macro"]["value"] == pytest.approx(expected)


def test_several_styles_a_picture_are_measured_whatever_loss_was_trained(dataset, config):
    """Softmax probabilities of a network trained with single labels rank pictures style by style."""
    predictions = predict(dataset.indices("test"))
    row = metric_rows(dataset, predictions, FACTS, config)[0]["metrics"]
    kept = ~np.isnan(dataset.style_tests[predictions.indices]).any(axis=1)
    truth = dataset.style_tests[predictions.indices][kept]
    expected = [average_precision(truth[:, s], predictions.style[kept, s], np.ones(10)) for s in range(S)]
    assert row["map"]["value"] == pytest.approx(np.mean(expected)) and row["map"]["n"] == 10


def test_tables_show_them(dataset, config):
    predictions = predict(dataset.indices("test"))
    content = {
        "rows": [
            *metric_rows(dataset, predictions, FACTS, config),
            *breakdown.by_metadata(dataset, predictions, FACTS, config),
        ],
        "styles": breakdown.style_protocols(
            dataset, [predictions, predict(plan.elsewhere(dataset, "test"))], FACTS, config
        ),
        "split": {"name": "test", "sha256": "0" * 64, "pictures": 40},
        "config": {"data": {"name": "x"}},
        "eval_size": "native", "step": 1, "seed": 0, "threshold": 5.0, "delta": 1.0, "pkl_floor": 1e-7, "bootstrap": 20,
    }  # fmt: skip
    text = tables.markdown(content)
    assert "| model | animal (14) |".replace(" | animal", " \\| animal") in text
    assert "all style-test pictures: 20 pictures, 10 with votes trained on" in text
    assert "style mAP" in tables.terminal(content)


def test_labels_for_some_of_the_styles_are_measured_on_those(dataset, config):
    """Data from elsewhere: average precision of the shared styles, and a mean over these."""
    predictions = predict(range(30, 40))
    whole = metric_rows(dataset, predictions, FACTS, config)[0]["metrics"]
    fewer = dataclasses.replace(
        dataset,
        style_names=("Duotones", "HDR"),
        styles=dataset.styles[:, [2, 0]],
        style_tests=dataset.style_tests[:, [2, 0]],
    )
    some = metric_rows(fewer, predictions, FACTS, config)[0]["metrics"]
    assert {name for name in some if name.startswith("ap_")} == {"ap_HDR", "ap_Duotones"}
    for name in ("ap_HDR", "ap_Duotones"):
        assert some[name]["value"] == whole[name]["value"]
