"""The tasks: one record each, which models, training, inference and evaluation read."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
from jaxtyping import Array, Float

from mtp.tasks import labels, losses
from mtp.tasks.labels import Labels, Styles, Votes

Kind = Literal["histogram", "category", "styles"]


class LossOptions(NamedTuple):
    """What the losses can be told, named as the options of `loss`.

    target: "histogram" or "mean". style_kind: "softmax" for styles that exclude one another, "sigmoid" for several a
    picture.
    """

    target: str
    emd_r: int
    emd_squared: bool
    style_kind: str


Loss = Callable[[Array, Array, LossOptions], Float[Array, " B"]]


class Criterion(NamedTuple):
    """The metric on the validation split that chooses the best checkpoint."""

    metric: str
    better: Literal["low", "high"]


@dataclasses.dataclass(frozen=True)
class Task:
    """One thing that a network predicts.

    kind: of label: a histogram (N, K), a category (N,) of 0 or 1, or styles (N, S) of 0 and 1.
    outputs: (K ratings, S styles) -> logits; 0 where the data has nothing to learn.
    label: (votes (N, K), styles (N, S), threshold) -> the labels of N pictures.
    loss: (labels, logits, options) -> a value a picture, (B,).
    convex: a loss like it that is convex in the logits, to which last layers are fitted; None: `loss` is.
    probabilities: (logits (B, n), style_kind) -> what is predicted.
    factor: option of `loss` that multiplies the task's loss in Eq. 1; "": 1.
    """

    name: str
    kind: Kind
    outputs: Callable[[int, int], int]
    label: Callable[[Votes, Styles, float], Labels]
    loss: Loss
    probabilities: Callable[[Array, str], Array]
    criterion: Criterion
    factor: str = ""
    convex: Loss | None = None


def _distribution_loss(truth: Array, logits: Array, options: LossOptions) -> Float[Array, " B"]:
    if options.target == "mean":
        return losses.mean_rating(truth, logits)
    return losses.emd(truth, logits, r=options.emd_r, squared=options.emd_squared)


def _convex_distribution_loss(truth: Array, logits: Array, options: LossOptions) -> Float[Array, " B"]:
    """Cross-entropy, which the histogram itself minimises as it does Eq. 2; where only means are known, nothing but
    their distance is to be had.
    """
    if options.target == "mean":
        return losses.mean_rating(truth, logits)
    return losses.cross_entropy(truth, logits)


def _style_loss(truth: Array, logits: Array, options: LossOptions) -> Float[Array, " B"]:
    loss = losses.cross_entropy if options.style_kind == "softmax" else losses.style_bce
    return loss(truth, logits)


_RECORDS = (
    Task(
        "distribution",
        kind="histogram",
        outputs=lambda ratings, styles: ratings,
        label=labels.distribution,
        loss=_distribution_loss,
        probabilities=lambda logits, style_kind: jax.nn.softmax(logits),
        criterion=Criterion("emd_r2", "low"),
        convex=_convex_distribution_loss,
    ),
    Task(
        "two_category",
        kind="category",
        outputs=lambda ratings, styles: 2,
        label=labels.two_category,
        loss=lambda high, logits, options: losses.two_category(high, logits),
        probabilities=lambda logits, style_kind: jax.nn.softmax(logits)[:, 1],
        criterion=Criterion("two_category_accuracy", "high"),
        factor="two_category_factor",
    ),
    Task(
        "style",
        kind="styles",
        outputs=lambda ratings, styles: styles,
        label=labels.style,
        loss=_style_loss,
        probabilities=lambda logits, style_kind: (
            jax.nn.softmax(logits) if style_kind == "softmax" else jax.nn.sigmoid(logits)
        ),
        criterion=Criterion("map", "high"),
        factor="style_factor",
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _RECORDS}


def probabilities(
    logits: Mapping[str, Float[Array, "B _"]], style_kind: str = "softmax"
) -> dict[str, Float[Array, "B ..."]]:
    """Logits to the distribution over ratings (B, K), the probability of high quality (B,) and of each style (B, S)."""
    return {task: TASKS[task].probabilities(values, style_kind) for task, values in logits.items()}


def outputs(tasks: tuple[str, ...], ratings: int, styles: int) -> dict[str, int]:
    """Number of logits of each of these tasks, for K ratings and S styles; without those that have nothing to learn."""
    numbers = {task: TASKS[task].outputs(ratings, styles) for task in tasks}
    return {task: n for task, n in numbers.items() if n}
