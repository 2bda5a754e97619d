"""Table 1's runner: every kind of row, claims by seeds, going on after a kill, wrong workdirs."""

import csv
import json
import re
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import votes_scratch
from experiments import report, table1
from experiments.tables import blocks, deep_rows, features, table1_fits, table1_plot
from experiments.tables.claims import Pair, claims
from mtp.config import flat, get_config, read_file
from mtp.evaluation.measure import Evaluation
from mtp.evaluation.samples import Criteria
from mtp.report import comparison
from mtp.workdirs import UsageError

K = 5


@pytest.fixture(scope="module")
def found():
    """Features that tell of the votes, as features.extract would have left them."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(150, 12)).astype(np.float32)
    mean = 3 + values[:, 0]
    counts = np.array(
        [rng.multinomial(60, np.histogram(rng.normal(m, 1, 500).clip(1, K), K)[0] / 500) for m in mean]
    )
    splits = np.array(["train"] * 90 + ["validation"] * 30 + ["test"] * 30)
    images = np.array([f"{i:03d}.png" for i in range(150)])
    about = {"data": "made", "backbone": "none", "backbone_sha256": "0" * 64, "eval_size": "native",
             "split_sha256": {"train": "a", "validation": "b", "test": "c" * 64}}  # fmt: skip
    return features.Features(values, images, counts, splits, images, about)


@pytest.fixture(scope="module")
def config():
    c = table1._config(table1.Path("configs/ldl/table1.py"))
    c.dimensions, c.bootstrap, c.tune_rows = 8, 600, 60
    c.grid = ConfigDict({
        "iis_lld": {"iterations": (5, 60)}, "bfgs_lld": {"penalty": (0.0, 0.01)}, "aa_knn": {"k": (3, 20, 200)},
        "ldsvr": {"c": (1.0,)}, "svdr_like": {"c": (1.0,), "features": (32,)},
    })  # fmt: skip
    return c


def workdir(folder, name, options, found, seed=0, sha="c" * 64):
    """What a finished run leaves: configuration, results and predictions (the truth, blunted)."""
    where = folder / name
    where.mkdir()
    c = votes_scratch.get_config()
    c.update_from_flattened_dict({**options, "seed": seed})
    results = {"config": json.loads(c.to_json()), "seed": seed, "split": {"name": "test", "sha256": sha}}
    (where / "results.json").write_text(json.dumps(results))
    test = found.rows("test")
    d = found.votes[test] / found.votes[test].sum(axis=1, keepdims=True) * 0.7 + 0.3 / K
    with (where / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *(f"pred_{k + 1}" for k in range(K)), "pred_mean"])
        # the order is not to be relied on
        for i in reversed(range(len(test))):
            writer.writerow([found.images[test[i]], *d[i], 0])
    return where


@pytest.fixture(scope="module")
def content(found, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table1")
    runs = [workdir(folder, f"mtp{s}", {}, found, s) for s in range(3)]
    runs.append(workdir(folder, "gap", {"model.columns": ("gap",)}, found))
    made = table1.build(found, config, runs, folder, "FOLDER", "theme")
    return {**made, "command": "python -m experiments.table1"}


def test_every_kind_of_row(content):
    names = [row["row"] for row in content["rows"]]
    assert names == [
        "uniform", "mean histogram", "mean of 15 random pictures", "oracle mean", "vote noise", "iis_lld", "bfgs_lld",
        "aa_knn", "ldsvr", "svdr_like", "iis_lld, no bias, 10 iterations", "MTP-NasNet (ours)",
        "gap, distribution+two_category+style, weights variance (ours)",
    ]  # fmt: skip
    value = {row["row"]: row["metrics"]["emd_r2"]["value"] for row in content["rows"]}
    assert value["vote noise"] < value["bfgs_lld"] < 0.7 * value["mean histogram"] < value["uniform"]
    printed = {row["row"]: row["printed"] for row in content["rows"]}
    assert (
        printed["aa_knn"]["ped"] == 0.172
        and printed["MTP-NasNet (ours)"] is None
        and printed["bfgs_lld"] is None
    )


def test_claims_need_three_seeds(content):
    claims = {claim["row"]: claim for claim in content["claims"]}
    assert claims["MTP-NasNet (ours)"]["verdict"] == "better" and claims["bfgs_lld"]["verdict"] == "better"
    single = claims["gap, distribution+two_category+style, weights variance (ours)"]
    assert single["verdict"] == "none: 1 of 3 seeds" and single["p_holm"] is None
    assert all(c["low"] <= c["value"] <= c["high"] for c in claims.values())


def test_missing_rows_say_what_to_run(content):
    missing = content["missing"]
    assert "MTP-NasNet (ours)" not in missing and "SANE" in missing
    command = missing["SF-NasNet (paper)"]
    assert "--config.data.dir=FOLDER --config.data.group=theme" in command
    # the command's configuration makes the row that is missing
    found = re.search(r"--config=(\S+)", command)
    assert found and found[1] == "configs/rows/sf_nasnet.py:paper"
    c = read_file(found[1])
    assert deep_rows.label(flat(c)) == ("SF-NasNet (paper)", True)
    c.optim.trunk_rate = 1e-3
    assert deep_rows.label(flat(c)) == ("SF-NasNet (ours)", False)
    assert deep_rows.label(flat(get_config())) == ("MTP-NasNet (ours)", False)


def test_pages(content):
    page = comparison.markdown(content)
    assert "0.172 / 0.113 / 0.176 / 0.918 / 0.095" in page and "test split sha256 cccccccccccc" in page
    assert "| bfgs_lld | any | -" in page and "| svdr_like | 3 | -" in page
    assert "iis_lld, no bias" in page and "**not converged**" in page and "python -m mtp.main" in page
    rows = list(csv.DictReader(comparison.csv_text(content).splitlines()))
    assert [row["row"] for row in rows] == [row["row"] for row in content["rows"]]
    assert float(rows[7]["printed_emd"]) == 0.095 and rows[0]["srcc"] == ""
    tex = comparison.latex(content)
    assert (
        tex.count(r"\\") == 1 + len(content["rows"])
        and r"emd\_r2 $\downarrow$" in tex
        and "_r2 " not in tex.replace(r"\_", "")
    )
    assert "missing SANE" in comparison.terminal(content)


def test_grids_leave_out_what_cannot_be_and_go_on(found, config, tmp_path, monkeypatch):
    data = table1_fits.splits(found, config.dimensions)
    best, points = table1_fits.tune("aa_knn", data, config, tmp_path)
    assert [p["options"]["k"] for p in points] == [3, 20] and best in [p["options"] for p in points]
    stored = json.loads((tmp_path / "grid.json").read_text())
    (tmp_path / "grid.json").write_text(json.dumps({"points": stored["points"][:1]}))
    fits = []
    real = table1_fits._fit
    monkeypatch.setattr(table1_fits, "_fit", lambda *a: fits.append(a[-1]) or real(*a))
    again, _ = table1_fits.tune("aa_knn", data, config, tmp_path)
    assert fits == [{"k": 20}] and again == best


def test_validation_and_test_do_not_reach_the_features(found, config):
    other = found.values.copy()
    other[90:] *= 100
    plain, changed = (table1_fits.splits(found._replace(values=v), 8) for v in (found.values, other))
    np.testing.assert_array_equal(plain.train[0], changed.train[0])


def test_wrong_workdirs(found, tmp_path):
    images = found.images[found.rows("test")].tolist()
    good = workdir(tmp_path, "good", {}, found)
    with pytest.raises(UsageError, match="seed 0 already"):
        deep_rows.read_rows([good, workdir(tmp_path, "twice", {}, found)], images, "c" * 64)
    with pytest.raises(UsageError, match="this table's test split is cccccccccccc"):
        deep_rows.read_rows([workdir(tmp_path, "other", {}, found, 1, "d" * 64)], images, "c" * 64)
    large = workdir(tmp_path, "large", {"model.backbone": "large"}, found, 1)
    with pytest.raises(UsageError, match=r"differ in model\.backbone"):
        deep_rows.read_rows([good, large], images, "c" * 64)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"it has no results\.json"):
        deep_rows.read_rows([tmp_path / "empty"], images, "c" * 64)


def test_a_folder_of_other_fits_is_refused(found, config, tmp_path):
    table1._claim(tmp_path, found, config)
    table1._claim(tmp_path, found, config)
    changed = ConfigDict(config)
    changed.criterion = "emd_r2"
    with pytest.raises(UsageError, match="other config"):
        table1._claim(tmp_path, found, changed)


def test_no_difference_is_no_verdict():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(K) * 5, 40)
    reference = np.tile(truth.mean(axis=0), (40, 1))
    how = Evaluation(
        rng.integers(1, 9, (40, K)), reference, reference, Criteria(3.0, 0.5, 1e-7), None, 100, 0
    )
    (claim,) = claims({"same": Pair([reference] * 3, [reference] * 3)}, how, "emd_r2")
    assert claim["verdict"] == "no difference shown" and claim["p_holm"] == 1


def test_the_plot_says_where_it_is_or_what_is_missing(content, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "matplotlib' in table1_plot.save(content, tmp_path / "table1.png")
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    assert str(tmp_path) in table1_plot.save(content, tmp_path / "table1.png")
    assert (tmp_path / "table1.png").stat().st_size > 10_000


@pytest.mark.parametrize(("metric", "verdict"), [("emd_r2", "better"), ("cos", "better"), ("ped", "better")])
def test_a_verdict_knows_which_way_its_metric_is_better(metric, verdict):
    rng = np.random.default_rng(0)
    votes = rng.multinomial(50, [0.1, 0.2, 0.4, 0.2, 0.1], 60)
    near = votes / votes.sum(axis=1, keepdims=True) * 0.9 + 0.1 / K
    uniform = np.full((60, K), 1 / K)
    how = Evaluation(votes, uniform, uniform, Criteria(3.0, 0.5, 1e-7), None, 100, 0)
    found = claims(
        {"near": Pair([near] * 3, [uniform] * 3), "far": Pair([uniform] * 3, [near] * 3)}, how, metric
    )
    assert [claim["verdict"] for claim in found] == [verdict, "worse"]


def test_the_report_has_the_learners_table(content, tmp_path):
    (tmp_path / "table1.json").write_text(json.dumps({**content, "command": "python -m experiments.table1"}))
    parts = report.of_learners(tmp_path)
    tables = [part for part in parts if isinstance(part, blocks.Table)]
    assert [row[0] for row in tables[0].body] == [row["row"] for row in content["rows"]]
    assert [row[0] for row in tables[1].body] == [claim["row"] for claim in content["claims"]]
    with pytest.raises(UsageError, match=r"has no table1\.json"):
        report.of_learners(tmp_path / "none")
