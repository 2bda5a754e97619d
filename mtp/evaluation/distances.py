"""Distances between histograms, one value a picture. Numpy, float64.

Truth and prediction are (N, K), rows on the simplex; the result is (N,). Equations are those of Sun and Zhou.
"""

import numpy as np
from jaxtyping import Float

Rows = Float[np.ndarray, "N K"]
Values = Float[np.ndarray, " N"]


def check_rows(truth: np.ndarray, prediction: np.ndarray) -> None:
    """Errors: ValueError where the two are not rows on the simplex of one shape."""
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ValueError(
            f"truth and prediction must be (N, K) alike; they are {truth.shape}, {prediction.shape}"
        )
    for name, rows in (("truth", truth), ("prediction", prediction)):
        wrong = ~(np.all(rows >= 0, axis=1) & (np.abs(rows.sum(axis=1) - 1) < 1e-6))
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"rows must be non-negative and sum to one; {int(wrong.sum())} rows of {name} do not, the first "
                f"is row {first}: {rows[first]}"
            )


def ped_sq(truth: Rows, prediction: Rows) -> Values:
    """Squared Euclidean distance (Eq. 5)."""
    return np.sum(np.square(truth - prediction), axis=1)


def ped(truth: Rows, prediction: Rows) -> Values:
    """Euclidean distance: the root of Eq. 5, as the paper's tables hold it."""
    return np.sqrt(ped_sq(truth, prediction))


def cheb(truth: Rows, prediction: Rows) -> Values:
    """Chebyshev distance (Eq. 7)."""
    return np.max(np.abs(truth - prediction), axis=1)


def _floored(rows: Rows, floor: float) -> Rows:
    raised = np.maximum(rows, floor)
    return raised / raised.sum(axis=1, keepdims=True)


def pkl(truth: Rows, prediction: Rows, floor: float) -> Values:
    """Symmetric Kullback-Leibler divergence (Eq. 6), nats; both sides raised to `floor` and renormalised."""
    y, p = _floored(truth, floor), _floored(prediction, floor)
    return 0.5 * np.sum((y - p) * (np.log(y) - np.log(p)), axis=1)


def kl(truth: Rows, prediction: Rows, floor: float) -> Values:
    """KL(truth | prediction), nats; only the prediction is floored, 0 ln 0 = 0."""
    p = _floored(prediction, floor)
    logs = np.log(np.where(truth > 0, truth, 1.0)) - np.log(p)
    return np.sum(truth * logs, axis=1)


def cos(truth: Rows, prediction: Rows) -> Values:
    """Cosine similarity (Eq. 8)."""
    norms = np.linalg.norm(truth, axis=1) * np.linalg.norm(prediction, axis=1)
    return np.sum(truth * prediction, axis=1) / norms


def emd(truth: Rows, prediction: Rows, r: int) -> Values:
    """Earth mover's distance (Eq. 9), normalised by K inside the root, the root per picture."""
    difference = np.abs(np.cumsum(truth - prediction, axis=1))
    return np.mean(difference**r, axis=1) ** (1 / r)
