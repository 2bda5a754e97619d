"""A model over a split, each picture once: prediction rows, then metric rows."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from mtp.config import Config
from mtp.data.batches import buckets
from mtp.data.batches.pipeline import evaluation_batches, evaluation_canvases
from mtp.data.schema import DataError, Dataset
from mtp.evaluation import references
from mtp.evaluation.distances import emd
from mtp.evaluation.measure import Evaluation
from mtp.evaluation.samples import Criteria
from mtp.evaluation.statistics import moments, rmse, srcc
from mtp.ratings import histograms
from mtp.runtime.mesh import put_batch

Predict = Callable[[Any, Any, Any], Mapping[str, Any]]  # (variables, images, sizes) -> probabilities


@dataclasses.dataclass(frozen=True)
class Facts:
    """What training learnt about its data and later evaluations must read, stored with the checkpoint.

    threshold, delta, tau: in ratings. mean_histogram: of the training split, the row to beat.
    style_kind: "softmax" or "sigmoid". reliability: the constants of the weights that it trained with
    (`weighting.Reliability`); empty in checkpoints from before they were kept.
    """

    ratings: int
    style_names: tuple[str, ...]
    style_kind: str
    threshold: float
    delta: float
    tau: float
    mean_histogram: tuple[float, ...]
    reliability: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Facts":
        lists = {name: tuple(stored[name]) for name in ("style_names", "mean_histogram")}
        return cls(**{**stored, **lists})


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Rows in the order of `indices`: distribution (N, K); p_high (N,) and style (N, S) or None."""

    indices: np.ndarray
    distribution: np.ndarray
    p_high: np.ndarray | None
    style: np.ndarray | None


def size_rules(config: Config) -> tuple[str, ...]:
    """eval.size, and eval.also_size where it is another one."""
    return tuple(dict.fromkeys(filter(None, (config.eval.size, config.eval.also_size))))


def sizes(dataset: Dataset, indices: np.ndarray, config: Config, rule: str) -> np.ndarray:
    """(N, 2): height and width at which each picture is evaluated under a size rule."""
    e, trained, wanted = config.eval, config.input.sizes, []
    for index in indices:
        height, width = map(int, dataset.sizes[index])
        try:
            size = buckets.evaluation_size((height, width), rule, trained, e.max_pixels, e.too_large)
        except DataError as error:
            raise DataError(f"{dataset.images[index]}: {error}") from error
        wanted.append(size)
    return np.array(wanted, np.int32).reshape(-1, 2)


def check(dataset: Dataset, config: Config) -> tuple[str, ...]:
    """What can be said of evaluations before there is a model: how many pictures eval.too_large shrinks.

    Errors: DataError where the split to evaluate is empty, or a picture of it or of validation is too large.
    """
    if not len(dataset.indices(config.eval.split)):
        raise DataError(
            f"the split {config.eval.split} of {dataset.name} is empty; choose another with eval.split"
        )
    rows = np.unique(np.concatenate([dataset.indices(s) for s in ("validation", config.eval.split)]))
    notes = []
    for rule in size_rules(config):
        sizes(dataset, rows, config, rule)
        wanted = [
            buckets.ruled_size(tuple(s), rule, config.input.sizes) for s in dataset.sizes[rows].tolist()
        ]
        shrunk = int((np.prod(wanted, axis=1) > config.eval.max_pixels).sum())
        if shrunk:
            notes.append(
                f"{shrunk} pictures are shrunk to eval.max_pixels = {config.eval.max_pixels} (eval.size {rule})"
            )
    return tuple(notes)


def canvases(dataset: Dataset, config: Config, devices: int) -> dict[tuple[int, int], int]:
    """Canvas shapes and pictures a batch for the validation split and the one to evaluate, under all size rules."""
    rows = [dataset.indices(split) for split in dict.fromkeys(("validation", config.eval.split))]
    if dataset.style_tests is not None:
        rows.append(np.flatnonzero(~np.isnan(dataset.style_tests).any(axis=1)))
    sets = [sizes(dataset, r, config, rule) for r in rows for rule in size_rules(config)]
    return evaluation_canvases(sets, config.eval.canvases, config.eval.batch_pixels, devices)


def predict(
    apply: Predict,
    variables: Any,
    dataset: Dataset,
    indices: np.ndarray,
    canvases: Mapping[tuple[int, int], int],
    config: Config,
    mesh: Mesh,
    size_rule: str,
) -> Predictions:
    """Every picture of `indices` exactly once, on canvases that `canvases` chose."""
    wanted = sizes(dataset, indices, config, size_rule)
    position = {int(index): row for row, index in enumerate(indices)}
    rows: dict[str, np.ndarray] = {}
    with tqdm(total=len(indices), desc="evaluating", unit="picture", disable=None, leave=False) as bar:
        for batch_indices, batch in evaluation_batches(
            dataset, indices, wanted, canvases, config.data, config.input
        ):
            placed = put_batch({k: batch[k] for k in ("images", "sizes")}, mesh)
            outputs = jax.device_get(apply(variables, placed["images"], placed["sizes"]))
            real = batch_indices >= 0
            target = [position[int(i)] for i in batch_indices[real]]
            for name, values in outputs.items():
                store = rows.setdefault(name, np.full((len(indices), *values.shape[1:]), np.nan))
                store[target] = values[real]
            bar.update(int(real.sum()))
    distribution = rows["distribution"]
    # float32 rows sum to one within 1e-6 only
    distribution = distribution / distribution.sum(axis=1, keepdims=True)
    return Predictions(indices, distribution, rows.get("p_high"), rows.get("style"))


def metric_rows(
    dataset: Dataset,
    predictions: Predictions,
    facts: Facts,
    config: Config,
    *,
    references_too: bool = True,
) -> list[dict]:
    """The model's row and, unless it is wanted alone, the reference rows uniform, mean histogram and vote noise.

    Where only means are known, what needs a histogram is undefined, and vote noise has no row.
    """
    votes = dataset.votes[predictions.indices]
    groups = None if dataset.groups is None else [dataset.groups[i] for i in predictions.indices]
    rows = {"model": predictions.distribution} | references.rows(
        votes, np.array(facts.mean_histogram), seed=config.seed
    )
    evaluation = Evaluation(
        votes=votes,
        mean_histogram=rows["mean histogram"],
        vote_noise=rows["vote noise"],
        criteria=Criteria(facts.threshold, facts.delta, config.eval.pkl_floor),
        groups=groups,
        resamples=config.eval.bootstrap,
        seed=config.seed,
        means_only=dataset.means_only,
    )
    result = []
    wanted = {"model": rows["model"]} if not references_too else rows
    for name, distribution in wanted.items():
        if dataset.means_only and name == "vote noise":
            continue
        outputs = _outputs(dataset, predictions, facts) if name == "model" else {}
        result.append({"row": name, "metrics": evaluation.metrics(distribution, **outputs)})
    return result


def _outputs(dataset: Dataset, predictions: Predictions, facts: Facts) -> dict[str, Any]:
    """The fields of `Sample` that hold what other heads than the distribution's gave."""
    outputs: dict[str, Any] = {} if predictions.p_high is None else {"p_high": predictions.p_high}
    # data from elsewhere may have labels for some of the styles
    shared = [name for name in facts.style_names if name in dataset.style_names]
    if shared and predictions.style is not None:
        theirs, ours = (
            [names.index(s) for s in shared] for names in (dataset.style_names, facts.style_names)
        )
        outputs |= {
            "styles": dataset.tested_styles[predictions.indices][:, theirs],
            "predicted_styles": predictions.style[:, ours],
            "style_names": tuple(shared),
        }
    return outputs


def point_metrics(dataset: Dataset, predictions: Predictions) -> dict[str, float]:
    """emd_r2 and SRCC without intervals: what a run watches on its validation split; RMSE where means are all."""
    truth = histograms(dataset.votes[predictions.indices])
    (truth_mean, _), (mean, _) = moments(truth), moments(predictions.distribution)
    everyone = np.ones(len(truth))
    if dataset.means_only:
        return {"rmse": rmse(truth_mean, mean, everyone), "srcc": srcc(truth_mean, mean, everyone)}
    return {
        "emd_r2": float(emd(truth, predictions.distribution, 2).mean()),
        "srcc": srcc(truth_mean, mean, everyone),
    }
