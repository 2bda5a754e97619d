"""The model's figures on parts of a split: a metadata column's values, and the style protocols of AVA."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtp.config import Config, ConfigError
from mtp.data.schema import Dataset
from mtp.evaluation.measure import measure
from mtp.evaluation.rows import Facts, Predictions, metric_rows
from mtp.evaluation.samples import Criteria, Sample


def part(predictions: Predictions, kept: np.ndarray) -> Predictions:
    """The rows of a mask (N,)."""
    p_high, style = (None if a is None else a[kept] for a in (predictions.p_high, predictions.style))
    return Predictions(predictions.indices[kept], predictions.distribution[kept], p_high, style)


def check(dataset: Dataset, config: Config) -> None:
    """Errors: ConfigError where the data has no column eval.by."""
    if config.eval.by and config.eval.by not in dataset.metadata:
        there = ", ".join(dataset.metadata) or "none"
        raise ConfigError(
            f"eval.by must be a metadata column of {dataset.name} ({there}), not {config.eval.by!r}"
        )


def by_metadata(
    dataset: Dataset, predictions: Predictions, facts: Facts, config: Config
) -> list[dict[str, Any]]:
    """A row "model | VALUE" for each value of the column eval.by, with the number of its pictures.

    A cell of several values joined by ";" counts for each; empty cells and values of one picture have no row.
    """
    if not config.eval.by:
        return []
    column = dataset.metadata[config.eval.by]
    cells = [set(filter(None, column[i].split(";"))) for i in predictions.indices]
    rows = []
    for value in sorted(set().union(*cells)):
        kept = np.array([value in cell for cell in cells])
        if kept.sum() > 1:
            inside = metric_rows(dataset, part(predictions, kept), facts, config, references_too=False)[0]
            rows.append(
                {"row": f"model | {value}", "pictures": int(kept.sum()), "metrics": inside["metrics"]}
            )
    return rows


def elsewhere(dataset: Dataset, split: str) -> np.ndarray:
    """Positions of pictures with a style to be tested on that lie outside the test split, where that is evaluated."""
    if dataset.style_tests is None or split != "test":
        return np.zeros(0, np.int64)
    listed = np.flatnonzero(~np.isnan(dataset.style_tests).any(axis=1))
    return np.setdiff1d(listed, dataset.indices(split))


def style_protocols(
    dataset: Dataset, predictions: Sequence[Predictions], facts: Facts, config: Config
) -> list[dict[str, Any]]:
    """Average precision under each protocol: on the split's own pictures and, with a second set of predictions
    (those of `elsewhere`), on all style-test pictures; each with unlabelled pictures as negatives and without.

    trained_on: how many of the pictures had their votes, never their styles, in training.
    """
    known = dataset.style_names == facts.style_names and predictions[0].style is not None
    if dataset.style_tests is None or not known:
        return []
    criteria = Criteria(facts.threshold, facts.delta, config.eval.pkl_floor)
    rows = []
    for name, sets in (("split", predictions[:1]), ("all style-test pictures", predictions)):
        indices = np.concatenate([p.indices for p in sets])
        predicted = np.concatenate([p.style for p in sets if p.style is not None])
        truth = dataset.style_tests[indices]
        in_training = np.isin(indices, dataset.indices("train"))
        for label, kept in (
            (name, ~np.isnan(truth).any(axis=1)),
            (f"{name}, without unlabelled", np.nan_to_num(truth).any(axis=1)),
        ):
            if not kept.any():
                continue
            sample = Sample(
                criteria,
                styles=truth[kept],
                predicted_styles=predicted[kept],
                style_names=facts.style_names,
            )
            rows.append(
                {
                    "row": label,
                    "pictures": int(kept.sum()),
                    "trained_on": int(in_training[kept].sum()),
                    "metrics": measure([sample], None, config.eval.bootstrap, config.seed),
                }
            )
    return rows
