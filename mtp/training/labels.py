"""What training learns of its data once: the facts that checkpoints keep, and every picture's labels and weights."""

from collections.abc import Mapping

import numpy as np

from mtp.config import Config
from mtp.data.schema import DataError, Dataset
from mtp.inference.facts import Facts
from mtp.ratings import histograms, rating_scale
from mtp.tasks import TASKS
from mtp.training import weighting


def learn_facts(dataset: Dataset, config: Config) -> Facts:
    """What later evaluations need to know of the training split."""
    rows = dataset.indices("train")
    if not len(rows):
        raise DataError("the training split must hold at least one picture; it is empty")
    c = config.loss
    scale = rating_scale(dataset.ratings, c.threshold, c.delta, c.tau)
    styles = dataset.styles[rows]
    labelled = styles[~np.isnan(styles).any(axis=1)] if styles.shape[1] else styles
    # a softmax can say neither "none of them" nor "the only one, or not"
    one_each = labelled.shape[1] > 1 and bool((labelled.sum(axis=1) == 1).all())
    return Facts(
        ratings=dataset.ratings,
        style_names=dataset.style_names if len(labelled) else (),
        style_kind="softmax" if one_each else "sigmoid",
        threshold=scale.threshold,
        delta=scale.delta,
        tau=scale.tau,
        mean_histogram=tuple(histograms(dataset.votes[rows]).mean(axis=0).tolist()),
        reliability=weighting.fit_reliability(
            dataset.votes[rows], c.reliability, scale.threshold, scale.tau
        )._asdict(),
    )


def training_labels(
    dataset: Dataset, facts: Facts, config: Config, outputs: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Labels and weights of every picture by task, float32; what is not in the training split weighs zero.

    outputs: the tasks that are trained. Histograms are smoothed towards the training split's mean histogram by the
    share loss.smoothing (Pereyra et al. 2017, "unigram").
    """
    rows = dataset.indices("train")
    reliable = weighting.reliability(
        dataset.votes[rows], config.loss.reliability, facts.threshold, facts.tau, config.seed
    )
    labels, weights = {}, {}
    for task in outputs:
        values, known = TASKS[task].label(dataset.votes, dataset.styles, facts.threshold)
        if TASKS[task].kind == "histogram":
            share = config.loss.smoothing
            values = (1 - share) * values + share * np.array(facts.mean_histogram)
        labels[task] = values.astype(np.float32)
        weights[task] = np.zeros(len(dataset), np.float32)
        weights[task][rows] = known[rows] * reliable.get(task, np.ones(len(rows)))
    return labels, weights


def labelled_share(dataset: Dataset, task: str, facts: Facts) -> float:
    """Share of the training pictures with a label of this task; reliability may weigh one at zero, yet it counts."""
    known = TASKS[task].label(dataset.votes, dataset.styles, facts.threshold).known
    return float(np.mean(known[dataset.indices("train")]))
