"""Table 1: label-distribution learners on frozen features, deep rows, reference rows, and what the paper prints.

    python -m experiments.table1 --data=demo --backbone=runs/demo --workdirs runs/demo
    python -m experiments.table1 --data=FOLDER --group=theme --backbone=lite0 --out=runs/table1/mine

Computes features where they are not there yet (`experiments.tables.features`), tunes and fits every learner
(`configs/ldl/table1.py`), reads the workdirs' predictions, and writes table1.md, .csv, .tex, .json and, with
matplotlib, .png to --out. Interrupted and started again, it goes on.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.tables import deep_rows, features, table1_fits, table1_plot
from experiments.tables.claims import Pair, claims
from experiments.tables.printed_rows import COLUMNS, PRINTED
from mtp.config import Config
from mtp.evaluation import references
from mtp.evaluation.measure import Evaluation
from mtp.evaluation.results import versions
from mtp.evaluation.samples import Criteria
from mtp.files import read_json, write_json
from mtp.ldl.params import LdlError
from mtp.ratings import histograms, rating_scale
from mtp.report import comparison
from mtp.workdirs import UsageError

PRINTED_AS = {"iis_lld": "IIS-LDL", "aa_knn": "KNN", "ldsvr": "LDSVR", "svdr_like": "SVDR"}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    features.add_options(parser)
    parser.add_argument("--workdirs", type=Path, nargs="*", default=[], help="finished workdirs, a seed each")
    parser.add_argument("--config", type=Path, default=Path("configs/ldl/table1.py"), help="grids and seeds")
    parser.add_argument("--out", type=Path, help="default: runs/table1/ and the data's name")
    given = parser.parse_args(arguments)
    out = given.out or Path("runs/table1") / Path(given.data.replace(":", "-")).name
    try:
        config = _config(given.config)
        found = features.prepared(given.data, given.group, given.backbone, out / "features.npz")
        _claim(out, found, config)
        content = build(found, config, given.workdirs, out, given.data, given.group)
    except (*features.ERRORS, LdlError) as error:
        sys.exit(f"error: {error}")
    content["command"] = "python -m experiments.table1 " + " ".join(arguments)
    write_json(out / "table1.json", content)
    pages = {"md": comparison.markdown, "csv": comparison.csv_text, "tex": comparison.latex}
    for suffix, page in pages.items():
        (out / f"table1.{suffix}").write_text(page(content))
    print(comparison.terminal(content))
    print(f"\ntable1.md, .csv, .tex, .json lie in {out}; {table1_plot.save(content, out / 'table1.png')}")


def _config(path: Path) -> Config:
    if not path.is_file():
        raise UsageError(f"--config must be a file with get_config(); there is no {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def _claim(out: Path, found: features.Features, config: Config) -> None:
    """Errors: UsageError where the folder's fits are of other features or settings."""
    here = {"features": found.about, "config": json.loads(config.to_json())}
    there = read_json(out / "about.json")
    if there is not None and there != here:
        differ = [part for part in here if there.get(part) != here[part]]
        raise UsageError(
            f"{out} holds fits of other {' and '.join(differ)}; choose another --out or remove it"
        )
    write_json(out / "about.json", here)


def build(
    found: features.Features,
    config: Config,
    workdirs: Sequence[Path],
    out: Path,
    data_name: str,
    group: str,
) -> dict[str, Any]:
    """All rows with metrics and claims: what table1.json holds."""
    data = table1_fits.splits(found, config.dimensions)
    test = found.rows("test")
    deep = deep_rows.read_rows(workdirs, found.images[test].tolist(), found.about["split_sha256"]["test"])
    _, votes = data.test
    fixed = _references(data, config)
    evaluation = _evaluation(found, votes, fixed, config)
    rows = [_row(name, [values], "reference", evaluation) for name, values in fixed.items()]
    predictions: dict[str, list[np.ndarray]] = {}
    for fit in table1_fits.learner_rows(data, config, out / "fits"):
        printed = PRINTED_AS.get(fit.name)
        rows.append(_row(fit.name, fit.predictions, "learner", evaluation, printed, fit.record))
        predictions[fit.name] = fit.predictions
    for row in deep:
        printed = row.name.split(" ")[0] if row.paper else None
        record = {"seeds": row.seeds}
        rows.append(_row(row.name, row.predictions, "deep", evaluation, printed, record))
        predictions[row.name] = row.predictions
    reference = fixed[config.compared_with]
    pairs = {name: Pair(runs, [reference] * len(runs)) for name, runs in predictions.items()}
    return {
        "data": found.about["data"],
        "features": {k: found.about[k] for k in ("backbone", "backbone_sha256", "eval_size", "split_sha256")}
        | {"width": found.values.shape[1], "dimensions": data.train[0].shape[1], "explained": data.explained},
        "pictures": {s: len(found.rows(s)) for s in ("train", "validation", "test")},
        "ratings": votes.shape[1],
        "groups": len(set(found.groups[test])),
        "threshold": evaluation.criteria.threshold,
        "delta": evaluation.criteria.delta,
        "config": json.loads(config.to_json()),
        "rows": rows,
        "claims": claims(pairs, evaluation, config.claim, config.level),
        "missing": deep_rows.missing(deep, data_name, group),
        "versions": versions(),
    }


def _references(data: table1_fits.Splits, config: Config) -> dict[str, np.ndarray]:
    votes, training = data.test[1], data.train[1]
    known, seed, k = histograms(training), config.seeds[0], config.random_neighbours
    rows = references.rows(votes, known.mean(axis=0), seed=seed)
    noise = rows.pop("vote noise")
    return {
        **rows,
        f"mean of {k} random pictures": references.random_mean(len(votes), known, k, seed),
        "oracle mean": references.oracle_mean(votes, training),
        "vote noise": noise,
    }


def _evaluation(
    found: features.Features, votes: np.ndarray, fixed: Mapping[str, np.ndarray], config: Config
) -> Evaluation:
    scale = rating_scale(votes.shape[1])
    return Evaluation(
        votes=votes, mean_histogram=fixed["mean histogram"], vote_noise=fixed["vote noise"],
        criteria=Criteria(scale.threshold, scale.delta, config.pkl_floor),
        groups=found.groups[found.rows("test")].tolist(), resamples=config.bootstrap, seed=config.seeds[0],
    )  # fmt: skip


def _row(
    name: str,
    predictions: list[np.ndarray],
    kind: str,
    evaluation: Evaluation,
    printed: str | None = None,
    record: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    values = dict(zip(COLUMNS, PRINTED[printed], strict=True)) if printed in PRINTED else None
    return {
        "row": name, "kind": kind, "seeds": len(predictions) if kind != "reference" else None,
        "metrics": evaluation.metrics_over_seeds(predictions), "printed": values, "record": dict(record or {}),
    }  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
