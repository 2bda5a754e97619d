"""Support vector regression with one tube for all outputs, by iteratively re-weighted least squares.

    min 1/2 |w|^2 + C sum_i w_i max(s |t_i - f_i| - eps, 0)^2,    f_i = phi_i w + b, b free

(Pérez-Cruz et al. 2002; the norm is over all outputs, so the tube is a ball). A step solves the least squares problem
with weights a_i = 2 C w_i s (r_i - eps) / |e_i| where r_i = s |e_i| > eps, else 0: they give the loss its true
gradient. The step is halved until the objective falls. The weights settle after the first steps, so a factorised
system serves for further steps, each a descent direction, while they gain fast (`SLOW`). Two forms: `Dual` over kernel
values, with the coefficients of the training rows, and `Primal` over explicit features, in `systems`.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

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
    """coefficients: (n, K) of `systems.Dual`, (m, K) of `systems.Primal`; bias: (K,); fitted: f in training."""

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
