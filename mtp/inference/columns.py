"""predictions.csv: a line a picture, a column a number."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from mtp.data.schema import Pictures
from mtp.files import replacing
from mtp.inference.facts import Facts
from mtp.inference.predictions import Predictions
from mtp.ratings import is_high, mean_and_std

Columns = dict[str, list[str]]  # name -> a cell a picture
NAMED = ("distribution", "two_category", "style")  # tasks whose columns have names of their own


def predicted(pictures: Pictures, predictions: Predictions, facts: Facts) -> Columns:
    """The columns of predictions: image, pred_1 .. pred_K, pred_mean, pred_std, share_above (the threshold), p_high,
    class, height, width, pred_style_NAME, and pred_TASK of other tasks; cells are empty where the network has no such
    task.

    class: high where the predicted mean is above the threshold; without a distribution, where p_high is above 1/2.
    """
    rows = len(predictions.indices)
    nothing = np.full(rows, np.nan)
    p_high = nothing if predictions.p_high is None else predictions.p_high
    distribution = predictions.distribution
    known = distribution is not None
    if distribution is None:
        distribution = np.full((rows, facts.ratings), np.nan)
    mean, std = mean_and_std(distribution)
    above = distribution[:, np.arange(1, facts.ratings + 1) > facts.threshold].sum(axis=1)
    high = is_high(mean, facts.threshold) if known else p_high > 0.5
    sizes = pictures.sizes[predictions.indices]
    found = {"image": [pictures.images[index] for index in predictions.indices]}
    found |= {f"pred_{k + 1}": digits(distribution[:, k]) for k in range(facts.ratings)}
    found |= {"pred_mean": digits(mean), "pred_std": digits(std), "share_above": digits(above)}
    found |= {"p_high": digits(p_high), "class": classes(high)}
    if not known and predictions.p_high is None:
        found["class"] = [""] * rows
    found |= {"height": list(map(str, sizes[:, 0])), "width": list(map(str, sizes[:, 1]))}
    if predictions.style is not None:
        styles = zip(facts.style_names, predictions.style.T, strict=True)
        found |= {f"pred_style_{name}": digits(values) for name, values in styles}
    others = {task: rows for task, rows in predictions.of_task.items() if task not in NAMED}
    return found | {
        name: digits(cells) for task, rows in others.items() for name, cells in _columns(task, rows)
    }


def _columns(task: str, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """pred_TASK of one number a picture, pred_TASK_1 .. of several."""
    if rows.ndim == 1:
        return [(f"pred_{task}", rows)]
    return [(f"pred_{task}_{i + 1}", column) for i, column in enumerate(rows.T)]


def classes(high: Bool[np.ndarray, " N"]) -> list[str]:
    """The two categories by name."""
    return ["high" if each else "low" for each in high]


def digits(values: Float[np.ndarray, " N"]) -> list[str]:
    """Nine significant digits, which hold a float32; empty for NaN."""
    return ["" if np.isnan(value) else f"{value:.9g}" for value in values]


def write(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    """The columns in their order, a line a picture."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
