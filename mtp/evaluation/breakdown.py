"""The model's figures on parts of a split: a metadata column's values, and the style protocols of AVA."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtp.config import Config
from mtp.data.schema import Dataset
from mtp.evaluation.measure import measure
from mtp.evaluation.rows import metric_rows
from mtp.evaluation.samples import Criteria, Sample
from mtp.inference.facts import Facts
from mtp.inference.predictions import Predictions


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
            inside = metric_rows(dataset, predictions.part(kept), facts, config, references_too=False)[0]
            rows.append(
                {"row": f"model | {value}", "pictures": int(kept.sum()), "metrics": inside["metrics"]}
            )
    return rows


def style_protocols(
    dataset: Dataset, predictions: Sequence[Predictions], facts: Facts, config: Config
) -> list[dict[str, Any]]:
    """Average precision under each protocol: on the split's own pictures and, with a second set of predictions
    (those of `plan.elsewhere`), on all style-test pictures; each with unlabelled pictures as negatives and without.

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
