"""A task's last layer behind a frozen trunk, fitted to its optimum on the features of each picture.

With standardised features z_i = (f_i - mean) / (deviation F^(1/2)) of F numbers, labels y_i and weights w_i it
minimises

    sum_i w_i loss(y_i, z_i W + b) / sum_i w_i + strength / 2 |W|^2

by L-BFGS. The strength is the one with the least loss on held-out pictures, over folds that keep groups together. W
lies in the span of the z_i and is sought there: a few hundred numbers an output, however many features there are.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize

from mtp.data.errors import DataError
from mtp.data.splits import k_fold

STRENGTHS = 10.0 ** np.arange(0.0, -7.5, -0.5)  # from the strongest: each begins where the one before ended
FOLDS = 5
LEAST_FOLDS = 3
PATIENCE = 3  # strengths in a row that are worse than the best, after which no weaker one is tried
RANK = 1e-7  # share of the largest eigenvalue, below which a direction is rounding
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
    groups: Sequence[str],
    seed: int = 0,
) -> LastLayer:
    """The last layer of one task. groups: a name a picture; pictures of one are held out together.

    Errors: DataError where the pictures of a weight above zero have fewer than 3 groups.
    """
    counted = weights > 0
    features, labels, weights = features[counted], labels[counted], weights[counted]
    groups = [group for group, counts in zip(groups, counted, strict=True) if counts]
    space = Span(features)
    problem = Problem(space.coordinates, labels, weights, outputs, loss)
    held_out = choose(problem, folds_of(groups, seed))
    strength = min(held_out, key=lambda s: held_out[s])
    solution = problem.start()
    for stronger in (s for s in held_out if s >= strength):
        solution = problem.solve(solution, stronger)
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


def choose(problem: "Problem", folds: Sequence[np.ndarray]) -> dict[float, float]:
    """strength -> loss of the held-out pictures, from the strongest on, until weaker ones are worse."""
    found: dict[float, float] = {}
    solutions = [problem.start() for _ in folds]
    for strength in STRENGTHS.tolist():
        total = 0.0
        for number, held in enumerate(folds):
            solutions[number] = problem.solve(solutions[number], strength, ~held)
            total += problem.total(solutions[number], held)
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


class Problem:
    """What is minimised, as a function of one vector: kernel (R, n) and bias (n,)."""

    def __init__(
        self, coordinates: np.ndarray, labels: np.ndarray, weights: np.ndarray, outputs: int, loss: Loss
    ):
        self._coordinates, self.weights, self._outputs = coordinates, weights.astype(np.float64), outputs
        given = jnp.asarray(labels)

        def values_and_gradients(logits: Array) -> tuple[Array, Array]:
            values, pull_back = jax.vjp(lambda logits: loss(given, logits), logits)
            return values, pull_back(jnp.ones_like(values))[0]

        self._losses = jax.jit(values_and_gradients)

    def start(self) -> np.ndarray:
        """No feature counts."""
        return np.zeros((self._coordinates.shape[1] + 1) * self._outputs)

    def split(self, solution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias."""
        rows = solution.reshape(-1, self._outputs)
        return rows[:-1], rows[-1]

    def _of_pictures(self, solution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each picture's loss, and its gradient by the picture's logits."""
        kernel, bias = self.split(solution)
        losses, gradients = self._losses((self._coordinates @ kernel + bias).astype(np.float32))
        return np.asarray(losses, np.float64), np.asarray(gradients, np.float64)

    def total(self, solution: np.ndarray, among: np.ndarray) -> float:
        """Weighted sum of the losses of some pictures."""
        losses, _ = self._of_pictures(solution)
        return float(losses @ (self.weights * among))

    def solve(self, start: np.ndarray, strength: float, among: np.ndarray | None = None) -> np.ndarray:
        """The optimum on some pictures (None: all), from a start."""
        weights = self.weights if among is None else self.weights * among
        weights = weights / weights.sum()

        def value(solution: np.ndarray) -> tuple[float, np.ndarray]:
            losses, by_logits = self._of_pictures(solution)
            by_logits, (kernel, _) = by_logits * weights[:, None], self.split(solution)
            gradient = np.vstack([self._coordinates.T @ by_logits + strength * kernel, by_logits.sum(axis=0)])
            return float(losses @ weights) + strength / 2 * float(np.sum(kernel**2)), gradient.ravel()

        options = {"maxiter": ITERATIONS, "ftol": CHANGE}
        return minimize(value, start, jac=True, method="L-BFGS-B", options=options).x
