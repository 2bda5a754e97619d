"""What an evaluation leaves behind: predictions.csv and results.json."""

import csv
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtp.config import Config
from mtp.data.demo import generate as demo
from mtp.data.schema import Dataset
from mtp.evaluation import breakdown
from mtp.evaluation.rows import Facts, Predictions, metric_rows
from mtp.files import replacing
from mtp.ratings import histograms, mean_and_std


def assemble(
    dataset: Dataset,
    predictions: Predictions,
    facts: Facts,
    config: Config,
    *,
    elsewhere: Predictions | None = None,
    split: str,
    size_rule: str,
    step: int,
    finished: bool,
    origin: Mapping[str, Any],
    notes: Sequence[str],
) -> dict[str, Any]:
    """results.json: metric rows and everything that the numbers depend on.

    origin: of the loaded weights. elsewhere: of style-test pictures outside the split. finished: whether the training
    reached its last step. notes: what was done to pictures, beside what the data set itself says.
    """
    style_sets = [predictions, elsewhere] if elsewhere else [predictions]
    content = {
        "split": {"name": split, "sha256": dataset.split_sha256(split), "pictures": len(predictions.indices)},
        "rows": [
            *metric_rows(dataset, predictions, facts, config),
            *breakdown.by_metadata(dataset, predictions, facts, config),
        ],
        "styles": breakdown.style_protocols(dataset, style_sets, facts, config),
        "seed": config.seed,
        "step": step,
        "finished": finished,
        "mean_histogram": list(facts.mean_histogram),
        "bootstrap": config.eval.bootstrap,
        "pkl_floor": config.eval.pkl_floor,
        "threshold": facts.threshold,
        "delta": facts.delta,
        "eval_size": size_rule,
        "skipped": [*dataset.skipped, *notes],
        "config": json.loads(config.to_json()),
        "versions": versions(),
        "weights": dict(origin),
    }
    return content | ({"demo_code": demo.code_hash()} if config.data.name == "demo" else {})


def versions() -> dict[str, str]:
    """Of the libraries that numbers depend on."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pillow")
    return {name: importlib.metadata.version(name) for name in names}


def write_predictions(path: Path, dataset: Dataset, predictions: Predictions, facts: Facts) -> None:
    """predictions.csv: a line a picture, sorted by `image`; every metric can be recomputed from it.

    Where only means are known, votes, truth_1..truth_K and truth_std are empty.
    """
    truth = histograms(dataset.votes[predictions.indices])
    truth_mean, truth_std = mean_and_std(truth)
    votes = dataset.votes[predictions.indices].sum(axis=1).astype(float)
    if dataset.means_only:
        truth, truth_std, votes = (np.full_like(a, np.nan) for a in (truth, truth_std, votes))
    mean, std = mean_and_std(predictions.distribution)
    above = np.arange(1, facts.ratings + 1) > facts.threshold
    ratings = range(1, facts.ratings + 1)
    header = ["image", "votes", *(f"truth_{k}" for k in ratings), *(f"pred_{k}" for k in ratings)]
    header += ["truth_mean", "pred_mean", "truth_std", "pred_std", "share_above", "p_high", "class"]
    header += ["height", "width", *(f"truth_style_{s}" for s in dataset.style_names)]
    header += [f"pred_style_{s}" for s in facts.style_names if predictions.style is not None]
    # a column of the data set that is called like one of ours gets a prefix
    header += [f"data_{name}" if name in header else name for name in dataset.metadata]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row, index in enumerate(predictions.indices):
            numbers = [*truth[row], *predictions.distribution[row], truth_mean[row], mean[row]]
            numbers += [truth_std[row], std[row], predictions.distribution[row, above].sum()]
            p_high = np.nan if predictions.p_high is None else predictions.p_high[row]
            cells = [dataset.images[index], _digits(votes[row]), *map(_digits, [*numbers, p_high])]
            cells += ["high" if mean[row] > facts.threshold else "low", *map(int, dataset.sizes[index])]
            cells += map(_digits, dataset.tested_styles[index])
            cells += map(_digits, [] if predictions.style is None else predictions.style[row])
            cells += [column[index] for column in dataset.metadata.values()]
            writer.writerow(cells)


def _digits(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.9g}"
