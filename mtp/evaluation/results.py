"""What an evaluation leaves behind: predictions.csv and results.json."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtp.config import Config
from mtp.data.demo import generate as demo
from mtp.data.schema import Dataset
from mtp.evaluation import breakdown
from mtp.evaluation.rows import criteria, metric_rows, voted_scale
from mtp.inference.columns import Columns, classes, digits, predicted
from mtp.inference.facts import Facts
from mtp.inference.predictions import Predictions
from mtp.ratings import histograms, is_high, mean_and_std


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
    pixels: float,
) -> dict[str, Any]:
    """results.json: metric rows and everything that the numbers depend on.

    origin: of the loaded weights. elsewhere: of style-test pictures outside the split. finished: whether the training
    reached its last step. notes: what was done to pictures, beside what the data set itself says. pixels: that the
    network looks at, mean of the split's pictures.
    """
    style_sets = [predictions, elsewhere] if elsewhere else [predictions]
    used = criteria(dataset, facts, config)
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
        "groups": None if dataset.groups is None else len({dataset.groups[i] for i in predictions.indices}),
        "pkl_floor": config.eval.pkl_floor,
        "ratings": {"voted": dataset.ratings, "predicted": facts.ratings},
        "threshold": used.threshold,
        "predicted_threshold": facts.threshold,
        "delta": used.delta,
        "eval_size": size_rule,
        "pixels": pixels,
        "skipped": [*dataset.skipped, *notes],
        "config": json.loads(config.to_json()),
        "versions": versions(),
        "weights": dict(origin),
    }
    return content | ({"demo_code": demo.code_hash()} if config.data.name == "demo" else {})


def versions() -> dict[str, str]:
    """Of the libraries that numbers depend on."""
    names = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pillow")
    return {name: importlib.metadata.version(name) for name in names}


def prediction_columns(dataset: Dataset, predictions: Predictions, facts: Facts) -> Columns:
    """The columns of predictions.csv, truth beside prediction; every metric can be recomputed from them.
    Where only means are known, votes, truth_1..truth_K and truth_std are empty.
    """
    rows = predictions.indices
    found = predicted(dataset, predictions, facts) | _truth(dataset, rows, facts)
    names = ["image", "votes", *(f"truth_{k}" for k in range(1, dataset.ratings + 1))]
    names += [f"pred_{k}" for k in range(1, facts.ratings + 1)]
    names += [
        "truth_mean",
        "pred_mean",
        "truth_std",
        "pred_std",
        "share_above",
        "p_high",
        "truth_class",
        "class",
    ]
    names += ["height", "width", *(f"truth_style_{s}" for s in dataset.style_names)]
    names += [name for name in found if name.startswith("pred_") and name not in names]
    # a column of the data set that is called like one of ours gets a prefix
    metadata = {
        f"data_{name}" if name in names else name: [column[row] for row in rows]
        for name, column in dataset.metadata.items()
    }
    return {name: found[name] for name in names} | metadata


def _truth(dataset: Dataset, rows: np.ndarray, facts: Facts) -> Columns:
    truth, votes = histograms(dataset.votes[rows]), dataset.votes[rows].sum(axis=1).astype(float)
    mean, std = mean_and_std(truth)
    high = is_high(mean, voted_scale(dataset, facts).threshold)
    if dataset.means_only:
        truth, std, votes = (np.full_like(a, np.nan) for a in (truth, std, votes))
    found = {"votes": digits(votes), "truth_mean": digits(mean), "truth_std": digits(std)}
    found |= {"truth_class": classes(high)}
    found |= {f"truth_{k + 1}": digits(truth[:, k]) for k in range(dataset.ratings)}
    styles = zip(dataset.style_names, dataset.tested_styles[rows].T, strict=True)
    return found | {f"truth_style_{name}": digits(labels) for name, labels in styles}
