"""A task's last layer behind a frozen trunk, fitted to its optimum on the features of each picture.

With standardised features z_i = (f_i - mean) / (deviation F^(1/2)) of F numbers, labels y_i and weights w_i it
minimises

    sum_i w_i loss(y_i, z_i W + b) / sum_i w_i + strength / 2 |W|^2

by L-BFGS. The strength is the one with which held-out pictures fare best, over folds that keep groups together; what
judges them there may be another loss, such as one that is not convex in the logits. W lies in the span of the z_i and
is sought there, along its principal axes: a few hundred numbers an output, however many features there are. The loss
is about as curved along an axis as the pictures vary there, so that a step along it is scaled by 1 / (curvature
variance + strength)^(1/2): cross-entropy takes a quarter of the evaluations.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from mtp.data.errors import DataError
from mtp.data.splits import k_fold

STRENGTHS = 10.0 ** np.arange(0.0, -7.5, -0.5)  # from the strongest: each begins where the one before ended
FOLDS = 5
LEAST_FOLDS = 3
PATIENCE = 3  # strengths in a row that are worse than the best, after which no weaker one is tried
RANK = 1e-7  # share of the largest eigenvalue, below which a direction is rounding
CURVATURE = 0.1  # of a loss by a logit, about; it changes how fast the optimum is found, not where it is
ITERATIONS, CHANGE = 200, 1e-7  # at most, and the relative decrease at which a fit ends: losses are float32

Loss = Callable[[Array, Array], Float[Array, " N"]]  # (labels, logits) -> a value a picture


class LastLayer(NamedTuple):
    """kernel (F, n) and bias (n,) of the features as they are; strength: the chosen one; held_out: each one's loss."""

    kernel: Float[np.ndarray, "F n"]
    bias: Float[np.ndarray, " n"]
    strength: float
    held_out: dict[float, float]


def fit(
    features: Float[np.ndarray, "N F"],
    labels: np.ndarray,
    weights: Float[np.ndarray, " N"],
    outputs: int,
    loss: Loss,
    judged_by: Loss,
    groups: Sequence[str],
    seed: int = 0,
) -> LastLayer:
    """The last layer of one task. loss: minimised; judged_by: by which held-out pictures choose the strength.

    groups: a name a picture; pictures of one are held out together.

    Errors: DataError where the pictures of a weight above zero have fewer than 3 groups.
    """
    counted = weights > 0
    features, labels, weights = features[counted], labels[counted], weights[counted]
    groups = [group for group, counts in zip(groups, counted, strict=True) if counts]
    space = Span(features)
    problem = Problem(space.coordinates, labels, weights, outputs, loss)
    # BLAS' threads wait for work by spinning, on the cores that the losses are computed on: two were 8 times as slow
    with threadpool_limits(1, user_api="blas"):
        held_out = choose(problem, jax.jit(judged_by), folds_of(groups, seed))
        strength = min(held_out, key=lambda s: held_out[s])
        solution, everything = problem.start(), problem.part()
        for stronger in (s for s in held_out if s >= strength):
            solution = problem.solve(solution, stronger, everything)
    kernel, bias = space.of_features(*problem.split(solution))
    return LastLayer(kernel, bias, strength, held_out)


def folds_of(groups: Sequence[str], seed: int) -> list[np.ndarray]:
    """Masks (N,) of the pictures that each fold holds out."""
    count = min(FOLDS, len(set(groups)))
    if count < LEAST_FOLDS:
        raise DataError(
            f"fitting on features needs labelled training pictures of at least {LEAST_FOLDS} groups; there are {count}"
        )
    return [np.array(k_fold(groups, count, fold, seed)) == "test" for fold in range(count)]


def choose(problem: "Problem", judged_by: Loss, folds: Sequence[np.ndarray]) -> dict[float, float]:
    """strength -> mean loss of the held-out pictures, from the strongest on, until weaker ones are worse."""
    found: dict[float, float] = {}
    solutions, parts = [problem.start() for _ in folds], [problem.part(~held) for held in folds]
    for strength in STRENGTHS.tolist():
        total = 0.0
        for number, held in enumerate(folds):
            solutions[number] = problem.solve(solutions[number], strength, parts[number])
            losses = np.asarray(
                judged_by(problem.labels, jnp.asarray(problem.logits(solutions[number]))), np.float64
            )
            total += float(losses @ (problem.weights * held))
        found[strength] = total / float(problem.weights.sum())
        best = min(found, key=lambda s: found[s])
        if list(found).index(best) < len(found) - PATIENCE:
            break
    return found


class Span:
    """Standardised features in an orthogonal basis of their span; coordinates (N, R)."""

    def __init__(self, features: Float[np.ndarray, "N F"]):
        values = features.astype(np.float64)
        self._mean, deviation = values.mean(axis=0), values.std(axis=0)
        # a feature that is the same everywhere tells nothing
        useful = deviation > 1e-6 * np.maximum(np.abs(self._mean), 1e-6)
        self._scale = np.divide(
            1.0, deviation * values.shape[1] ** 0.5, out=np.zeros_like(deviation), where=useful
        )
        standard = (values - self._mean) * self._scale
        squares, vectors = np.linalg.eigh(standard @ standard.T)
        kept = squares > RANK * max(float(squares[-1]), np.finfo(float).tiny)
        lengths = np.sqrt(squares[kept])
        self.coordinates = vectors[:, kept] * lengths
        self._basis = standard.T @ (vectors[:, kept] / lengths)

    def of_features(
        self, kernel: Float[np.ndarray, "R n"], bias: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, "F n"], Float[np.ndarray, " n"]]:
        """The same layer on features as they are."""
        whole = self._scale[:, None] * (self._basis @ kernel)
        return whole, bias - self._mean @ whole


class Part(NamedTuple):
    """Pictures to be fitted to: weights (N,) of sum 1, and the variance (R,) along each axis."""

    weights: np.ndarray
    variances: np.ndarray


class Problem:
    """What is minimised, as a function of one vector: kernel (R, n) and bias (n,)."""

    def __init__(
        self, coordinates: np.ndarray, labels: np.ndarray, weights: np.ndarray, outputs: int, loss: Loss
    ):
        # float32, as the losses are: products of thousands of pictures with as many axes take half the time
        self._coordinates, self._outputs = coordinates.astype(np.float32), outputs
        self.weights = weights.astype(np.float64)
        self.labels = jnp.asarray(labels)

        def values_and_gradients(logits: Array) -> tuple[Array, Array]:
            values, pull_back = jax.vjp(lambda logits: loss(self.labels, logits), logits)
            return values, pull_back(jnp.ones_like(values))[0]

        self._losses = jax.jit(values_and_gradients)

    def start(self) -> np.ndarray:
        """No feature counts."""
        return np.zeros((self._coordinates.shape[1] + 1) * self._outputs)

    def split(self, solution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias."""
        rows = solution.reshape(-1, self._outputs)
        return rows[:-1], rows[-1]

    def logits(self, solution: np.ndarray) -> np.ndarray:
        """Of every picture, float32."""
        kernel, bias = self.split(solution)
        return self._coordinates @ kernel.astype(np.float32) + bias.astype(np.float32)

    def part(self, among: np.ndarray | None = None) -> "Part":
        """Some of the pictures (None: all)."""
        weights = self.weights if among is None else self.weights * among
        weights = weights / weights.sum()
        return Part(weights, np.einsum("i,ij,ij->j", weights, self._coordinates, self._coordinates))

    def solve(self, start: np.ndarray, strength: float, part: "Part") -> np.ndarray:
        """The optimum on a part of the pictures, from a start."""
        scales = 1 / np.sqrt(np.append(CURVATURE * part.variances + strength, CURVATURE))[:, None]

        def value(scaled: np.ndarray) -> tuple[float, np.ndarray]:
            solution = self._scaled(scaled, scales)
            losses, by_logits = map(np.asarray, self._losses(self.logits(solution)))
            by_logits = by_logits * part.weights[:, None].astype(np.float32)
            kernel, _ = self.split(solution)
            gradient = np.vstack(
                [
                    self._coordinates.T @ by_logits + strength * kernel,
                    by_logits.sum(axis=0, dtype=np.float64),
                ]
            )
            penalty = strength / 2 * float(np.sum(kernel**2))
            return float(losses @ part.weights) + penalty, self._scaled(gradient, scales)

        options = {"maxiter": ITERATIONS, "ftol": CHANGE}
        found = minimize(value, self._scaled(start, 1 / scales), jac=True, method="L-BFGS-B", options=options)
        return self._scaled(found.x, scales)

    def _scaled(self, solution: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """Every row of kernel and bias times a number."""
        return (solution.reshape(-1, self._outputs) * scales).ravel()
