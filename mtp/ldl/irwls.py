"""Support vector regression with one tube for all outputs, by iteratively re-weighted least squares.

    min 1/2 |w|^2 + C sum_i w_i max(s |t_i - f_i| - eps, 0)^2,    f_i = phi_i w + b, b free

(Pérez-Cruz et al. 2002; the norm is over all outputs, so the tube is a ball). A step solves the least squares problem
with weights a_i = 2 C w_i s (r_i - eps) / |e_i| where r_i = s |e_i| > eps, else 0: they give the loss its true
gradient. The step is halved until the objective falls. The weights settle after the first steps, so a factorised
system serves for further steps, each a descent direction, while they gain fast (`SLOW`). Two forms: `Dual` over kernel
values, with the coefficients of the training rows, and `Primal` over explicit features.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from tqdm import tqdm

from mtp.ldl.kernels import BLOCK
from mtp.ldl.params import Convergence, objective_fell

SHORTEST = 1e-12  # share of a step, below which there is nothing to gain
SLOW = 0.25  # of the decrease before: a step with an old system that gains more than this calls for a new one


@dataclasses.dataclass(frozen=True)
class Tube:
    """C: price of leaving the tube; epsilon: its radius, in units of the loss; scale: s above."""

    c: float
    epsilon: float
    scale: float

    def excess(self, residual: Float[np.ndarray, "n K"]) -> Float[np.ndarray, " n"]:
        """max(s |e_i| - eps, 0)."""
        return np.maximum(self.scale * np.linalg.norm(residual, axis=1) - self.epsilon, 0)

    def loss(self, residual: Float[np.ndarray, "n K"], weight: Float[np.ndarray, " n"]) -> float:
        """C sum_i w_i excess_i^2."""
        return self.c * float(weight @ np.square(self.excess(residual)))

    def row_weights(
        self, residual: Float[np.ndarray, "n K"], weight: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """a_i above: the loss' gradient is -a_i e_i."""
        length = np.linalg.norm(residual, axis=1)
        if self.epsilon == 0:
            # also where the residual vanishes
            return 2 * self.c * self.scale**2 * weight
        excess = self.excess(residual)
        return 2 * self.c * self.scale * weight * excess / np.where(excess > 0, length, 1)


class State(NamedTuple):
    """coefficients: (n, K) of a `Dual`, (m, K) of a `Primal`; bias: (K,); fitted: f of the training rows."""

    coefficients: np.ndarray
    bias: np.ndarray
    fitted: np.ndarray

    def towards(self, other: "State", share: float) -> "State":
        return State(*(a + share * (b - a) for a, b in zip(self, other, strict=True)))


@runtime_checkable
class Problem(Protocol):
    """Where f lives: how large |w|^2 is, and what weighted least squares gives."""

    def start(self, bias: np.ndarray) -> State: ...
    def penalty(self, state: State) -> float: ...
    def solve(self, a: np.ndarray, target: np.ndarray, state: State, fresh: bool) -> tuple[State, bool]:
        """The step's end, and whether its system was made for these weights; `fresh` asks for that."""
        ...


class Dual:
    """f = K beta + b; beta is zero inside the tube."""

    def __init__(self, kernel: Float[np.ndarray, "n n"]):
        self._kernel = kernel
        self._a, self._rows = np.zeros(len(kernel)), np.arange(0)  # the factorised system's a and S
        self._factor: tuple[np.ndarray, bool] | None = None

    def start(self, bias: np.ndarray) -> State:
        """The constant f = bias."""
        n = len(self._kernel)
        return State(np.zeros((n, len(bias))), bias, np.tile(bias, (n, 1)))

    def penalty(self, state: State) -> float:
        """1/2 tr(beta' K beta)."""
        return 0.5 * float(np.sum(state.coefficients * (state.fitted - state.bias)))

    def solve(self, a: np.ndarray, target: np.ndarray, state: State, fresh: bool) -> tuple[State, bool]:
        """[[K_SS + 1/a, 1], [1', 0]] [beta; b] = [t; 0] over the rows S with a > 0, one factorisation for all outputs.

        With an old factor a Newton step with its weights: rows that left the tube since then take their gradient,
        rows that entered it drop to zero.
        """
        fresh = fresh or self._factor is None
        if fresh:
            self._factorise(a)
        old, beta = self._rows, state.coefficients
        slope = a[:, None] * (target - state.fitted) - beta
        moved = slope.copy()
        moved[old] = 0
        wanted = slope[old] / self._a[old, None]
        if moved.any():
            wanted -= (self._kernel @ moved)[old]
        right = np.column_stack([wanted, np.ones(len(old))])
        solved = cho_solve(self._factor, right, check_finite=False)
        entered = a[old] == 0
        solved[entered] = np.column_stack([-beta[old][entered], np.zeros(entered.sum())])
        # the coefficients of each output sum to zero
        surplus = solved[:, :-1].sum(axis=0) + moved.sum(axis=0) + beta.sum(axis=0)
        change = surplus / solved[:, -1].sum()
        moved[old] = solved[:, :-1] - np.outer(solved[:, -1], change)
        beta, bias = beta + moved, state.bias + change
        return State(beta, bias, self._kernel @ beta + bias), fresh

    def _factorise(self, a: np.ndarray) -> None:
        self._a, self._rows = a, np.flatnonzero(a > 0)
        whole = len(self._rows) == len(a)
        system = self._kernel.copy() if whole else self._kernel[np.ix_(self._rows, self._rows)]
        system[np.diag_indices(len(system))] += 1 / a[self._rows]
        # the transpose is the same matrix, in LAPACK's order: nothing is copied
        self._factor = cho_factor(system.T, lower=True, overwrite_a=True, check_finite=False)


class Primal:
    """f = phi W + b. Products of float32 features run in float32 by blocks, and are summed in float64."""

    def __init__(self, phi: Float[np.ndarray, "n m"]):
        self._phi = phi
        self._factor: tuple[np.ndarray, bool] | None = None

    def start(self, bias: np.ndarray) -> State:
        """The constant f = bias."""
        n, m = self._phi.shape
        return State(np.zeros((m, len(bias))), bias, np.tile(bias, (n, 1)))

    def penalty(self, state: State) -> float:
        """1/2 |W|^2."""
        return 0.5 * float(np.square(state.coefficients).sum())

    def solve(self, a: np.ndarray, target: np.ndarray, state: State, fresh: bool) -> tuple[State, bool]:
        """W and b of weighted ridge regression, as a Newton step from `state`: rounding of the matrix is harmless."""
        fresh = fresh or self._factor is None
        if fresh:
            self._factor = self.factor(a)
        gradient = self.gradient(a[:, None] * (target - state.fitted))
        gradient[:-1] -= state.coefficients
        change = cho_solve(self._factor, gradient, check_finite=False)
        end = State(
            state.coefficients + change[:-1], state.bias + change[-1], state.fitted + self.apply(change)
        )
        return end, fresh

    def factor(self, a: Float[np.ndarray, " n"]) -> tuple[np.ndarray, bool]:
        """Cholesky factor of [phi, 1]' diag(a) [phi, 1] + diag(1, .., 1, 0)."""
        m = self._phi.shape[1]
        matrix = np.diag(np.append(np.ones(m), 0.0))
        for rows in self._blocks():
            root = np.sqrt(a[rows])
            kept = root > 0
            part = self._phi[rows][kept] * root[kept, None].astype(self._phi.dtype)
            matrix[:m, :m] += part.T @ part
            matrix[m, :m] += (root[kept].astype(part.dtype) @ part).astype(np.float64)
        matrix[:m, m] = matrix[m, :m]
        matrix[m, m] = a.sum()
        return cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)

    def apply(self, w: Float[np.ndarray, "m1 K"]) -> Float[np.ndarray, "n K"]:
        """[phi, 1] w."""
        return (self._phi @ w[:-1].astype(self._phi.dtype)).astype(np.float64) + w[-1]

    def gradient(self, rows: Float[np.ndarray, "n K"]) -> Float[np.ndarray, "m1 K"]:
        """[phi, 1]' rows."""
        total = np.zeros((self._phi.shape[1] + 1, rows.shape[1]))
        for part in self._blocks():
            total[:-1] += self._phi[part].T @ rows[part].astype(self._phi.dtype)
        total[-1] = rows.sum(axis=0)
        return total

    def _blocks(self) -> list[slice]:
        return [slice(at, at + BLOCK) for at in range(0, len(self._phi), BLOCK)]


def minimise(
    problem: Problem,
    target: Float[np.ndarray, "n K"],
    weight: Float[np.ndarray, " n"],
    tube: Tube,
    iterations: int,
    tolerance: float,
) -> tuple[State, Convergence]:
    """From the constant mean target to the optimum; it stops where a step lowers the objective by less than
    `tolerance` of it."""

    def value(state: State) -> float:
        return problem.penalty(state) + tube.loss(target - state.fitted, weight)

    state = problem.start(weight @ target / weight.sum())
    objective, fresh = [value(state)], True
    for _ in tqdm(range(iterations), desc="IRWLS", unit="it", disable=None, leave=False):
        a = tube.row_weights(target - state.fitted, weight)
        if not (a > 0).any():
            return state, Convergence(
                tuple(objective), True, "every row lies inside the tube: the constant fits"
            )
        full, new = problem.solve(a, target, state, fresh)
        lower = _lower(state, full, value, objective[-1])
        if lower is None and new:
            return state, Convergence(tuple(objective), True, "no step lowers the objective any more")
        fresh = lower is None  # an old system has nothing more to give
        if lower is None:
            continue
        state = lower
        objective.append(value(state))
        gains = -np.diff(objective[-3:])
        fresh = not new and bool(gains[-1] > SLOW * gains[0])
        if not fresh and objective_fell(objective, tolerance):
            reason = f"a step lowered the objective by less than {tolerance:g} of it"
            return state, Convergence(tuple(objective), True, reason)
    return state, Convergence(tuple(objective), False, f"the limit of {iterations} iterations")


def _lower(state: State, full: State, value: Callable[[State], float], now: float) -> State | None:
    """The first of the whole step, its half, its quarter, ... with a lower objective."""
    share = 1.0
    while share >= SHORTEST:
        # the whole step gains no rounding errors
        candidate = full if share == 1 else state.towards(full, share)
        if value(candidate) < now:
            return candidate
        share /= 2
    return None
