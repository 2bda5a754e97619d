"""What a learner may be given: features, label distributions, weights and votes, as float64."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Num

from mtp.ldl.params import LdlError, Params

SUM_TOLERANCE = 1e-6  # of rows on the simplex


class Training(NamedTuple):
    """x: features (n, d); d: distributions (n, K); weight: (n,), of mean 1; all float64."""

    x: Float[np.ndarray, "n d"]
    d: Float[np.ndarray, "n K"]
    weight: Float[np.ndarray, " n"]


def training(
    x: Num[np.ndarray, "..."],
    d: Num[np.ndarray, "..."],
    weight: Num[np.ndarray, "..."] | None = None,
    votes: Num[np.ndarray, "..."] | None = None,
) -> Training:
    """The training data in float64, weights scaled to mean 1 (None: ones).

    Errors: LdlError on shapes that do not agree, values that are not finite, rows of d off the simplex, negative or
    all-zero weights or votes.
    """
    x, d = features(x), np.asarray(d, np.float64)
    if d.ndim != 2 or d.shape[0] != len(x) or d.shape[1] < 2:
        raise LdlError(
            f"d must be (n, K), a distribution over K >= 2 ratings a row of x, n = {len(x)}; it is {d.shape}"
        )
    if not len(x):
        raise LdlError("a fit needs at least one row; x has none")
    _refuse(~np.isfinite(d).all(axis=1), d, "d must be finite")
    wrong = (d < 0).any(axis=1) | (np.abs(d.sum(axis=1) - 1) > SUM_TOLERANCE)
    _refuse(wrong, d, "rows of d must be non-negative and sum to one (divide votes by their sum)")
    if votes is not None:
        _check_votes(np.asarray(votes), d)
    return Training(x, d / d.sum(axis=1, keepdims=True), _weights(weight, len(x)))


def features(x: Num[np.ndarray, "..."], expected: int | None = None) -> Float[np.ndarray, "n d"]:
    """Features in float64. Errors: LdlError where they are not (n, d), d as `expected`, and finite."""
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] < 1 or (expected is not None and x.shape[1] != expected):
        columns = "d >= 1" if expected is None else f"d = {expected} as in the fit"
        raise LdlError(f"x must be (n, d), a row a picture, {columns}; it is {x.shape}")
    wrong = ~np.isfinite(x).all(axis=1)
    _refuse(wrong, x, "features must be finite (fill or remove missing values first)")
    return x


def queries(params: Params, x: Num[np.ndarray, "..."], learner: str) -> Float[np.ndarray, "q d"]:
    """Features to predict from. Errors: LdlError where the parameters are another learner's, or x does not fit."""
    if params.learner != learner:
        raise LdlError(
            f"{learner} cannot predict with parameters of {params.learner}; use that learner's predict"
        )
    return features(x, params.options["features"])


def choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Errors: LdlError where an option is none of the known ones."""
    if value not in known:
        raise LdlError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def positive(**options: int | float) -> None:
    """Errors: LdlError where an option is not a positive, finite number."""
    for name, value in options.items():
        if not (np.isfinite(value) and value > 0):
            raise LdlError(f"{name} must be a positive number, not {value}")


def not_negative(**options: int | float) -> None:
    """Errors: LdlError where an option is negative or not finite."""
    for name, value in options.items():
        if not (np.isfinite(value) and value >= 0):
            raise LdlError(f"{name} must be 0 or a positive number, not {value}")


def _weights(weight: np.ndarray | None, rows: int) -> np.ndarray:
    if weight is None:
        return np.ones(rows)
    weight = np.asarray(weight, np.float64)
    if weight.shape != (rows,):
        raise LdlError(f"weight must be (n,) with n = {rows} as in x; it is {weight.shape}")
    _refuse(~(np.isfinite(weight) & (weight >= 0)), weight, "weights must be finite and not negative")
    if not weight.sum() > 0:
        raise LdlError("at least one weight must be positive; all are zero")
    return weight / weight.mean()


def _check_votes(votes: np.ndarray, d: np.ndarray) -> None:
    if votes.shape != d.shape:
        raise LdlError(f"votes must have the shape of d, {d.shape}; they are {votes.shape}")
    _refuse(~(np.isfinite(votes) & (votes >= 0)).all(axis=1), votes, "votes must be counts, 0 or more")
    _refuse(votes.sum(axis=1) <= 0, votes, "every row needs at least one vote (remove the row)")


def _refuse(wrong: Any, values: np.ndarray, rule: str) -> None:
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise LdlError(
            f"{rule}; {int(wrong.sum())} of {len(values)} rows break it, first row {first}: {values[first]}"
        )
