"""Predictions of pictures with votes to rows of metrics: the model's, and those that it is compared with."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtp.config import Config
from mtp.data.schema import Dataset
from mtp.evaluation import references
from mtp.evaluation.measure import Evaluation, measure
from mtp.evaluation.metrics import METRICS
from mtp.evaluation.samples import Criteria, Sample
from mtp.inference.facts import Facts
from mtp.inference.predictions import Predictions
from mtp.ratings import RatingScale, histograms, rating_scale


def metric_rows(
    dataset: Dataset,
    predictions: Predictions,
    facts: Facts,
    config: Config,
    *,
    references_too: bool = True,
) -> list[dict]:
    """The model's row and, unless it is wanted alone, the reference rows uniform, mean histogram and vote noise.

    Where only means are known, what needs a histogram is undefined, and vote noise has no row. The reference rows are
    distributions: a model that predicts none stands alone, and so does one of another rating scale than the votes',
    which is measured by what does not depend on a scale.
    """
    votes, one_scale = dataset.votes[predictions.indices], dataset.ratings == facts.ratings
    groups = None if dataset.groups is None else [dataset.groups[i] for i in predictions.indices]
    # of another scale they are never read
    mean = np.array(facts.mean_histogram) if one_scale else np.ones(dataset.ratings)
    rows = references.rows(votes, mean, seed=config.seed)
    evaluation = Evaluation(
        votes=votes,
        mean_histogram=rows["mean histogram"],
        vote_noise=rows["vote noise"],
        criteria=criteria(dataset, facts, config),
        groups=groups,
        resamples=config.eval.bootstrap,
        seed=config.seed,
        means_only=dataset.means_only,
    )
    measured = evaluation.metrics(**outputs(dataset, predictions, facts))
    result = [{"row": "model", "metrics": measured}]
    if dataset.means_only:
        del rows["vote noise"]
    if references_too and one_scale and predictions.distribution is not None:
        result += [
            {"row": name, "metrics": evaluation.metrics(distribution=row)} for name, row in rows.items()
        ]
    return result


def criteria(dataset: Dataset, facts: Facts, config: Config) -> Criteria:
    """Those of the votes' scale; the checkpoint's threshold beside them where that is of another one."""
    voted = voted_scale(dataset, facts)
    of_predictions = None if dataset.ratings == facts.ratings else facts.threshold
    return Criteria(voted.threshold, voted.delta, config.eval.pkl_floor, of_predictions)


def voted_scale(dataset: Dataset, facts: Facts) -> RatingScale:
    """The checkpoint's threshold, delta and tau where the votes are on its scale, else the scale's own."""
    if dataset.ratings == facts.ratings:
        return RatingScale(facts.threshold, facts.delta, facts.tau)
    return rating_scale(dataset.ratings)


def outputs(dataset: Dataset, predictions: Predictions, facts: Facts) -> dict[str, Any]:
    """The fields of `Sample` that hold what a network predicts, and the styles' truth."""
    found = {"distribution": predictions.distribution, "p_high": predictions.p_high}
    given: dict[str, Any] = {name: rows for name, rows in found.items() if rows is not None}
    # data from elsewhere may have labels for some of the styles
    shared = [name for name in facts.style_names if name in dataset.style_names]
    if shared and predictions.style is not None:
        theirs, ours = (
            [names.index(s) for s in shared] for names in (dataset.style_names, facts.style_names)
        )
        given |= {
            "styles": dataset.tested_styles[predictions.indices][:, theirs],
            "predicted_styles": predictions.style[:, ours],
            "style_names": tuple(shared),
        }
    return given


def point_metrics(
    dataset: Dataset, predictions: Predictions, facts: Facts, config: Config, names: Sequence[str]
) -> dict[str, float]:
    """The metrics of these names, as far as they are defined, without intervals: what a run watches on its validation
    split.
    """
    found = outputs(dataset, predictions, facts)
    sample = Sample(
        criteria(dataset, facts, config),
        truth=histograms(dataset.votes[predictions.indices]),
        prediction=found.pop("distribution", np.zeros((0, 0))),
        means_only=dataset.means_only,
        **found,
    )
    cells = measure([sample], None, 0, 0, {name: METRICS[name] for name in names})
    return {
        name: cells[name]["value"] for name in names if name in cells and cells[name]["value"] is not None
    }
