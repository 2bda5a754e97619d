"""The weighted least squares problems inside `irwls`: over kernel values, and over explicit features."""

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve

from mtp.ldl.irwls import State
from mtp.ldl.kernels import BLOCK


class Dual:
    """f = K beta + b; beta is zero inside the tube."""

    def __init__(self, kernel: Float[np.ndarray, "n n"]):
        self._kernel = kernel
        self._a, self._rows = np.zeros(len(kernel)), np.arange(0)  # the factorised system's a and S
        self._factor: np.ndarray | None = None

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
        if fresh or self._factor is None:
            fresh, self._a, self._rows = True, a, np.flatnonzero(a > 0)
            self._factor = _factorised(self._system())
        old, beta = self._rows, state.coefficients
        gradient = a[:, None] * (target - state.fitted) - beta
        moved = gradient.copy()
        moved[old] = 0
        wanted = gradient[old] / self._a[old, None]
        if moved.any():
            wanted -= (self._kernel @ moved)[old]
        right = np.column_stack([wanted, np.ones(len(old))])
        solved = _solved(self._factor, right)
        entered = a[old] == 0
        solved[entered] = np.column_stack([-beta[old][entered], np.zeros(entered.sum())])
        # the coefficients of each output sum to zero
        surplus = solved[:, :-1].sum(axis=0) + moved.sum(axis=0) + beta.sum(axis=0)
        change = surplus / solved[:, -1].sum()
        moved[old] = solved[:, :-1] - np.outer(solved[:, -1], change)
        beta, bias = beta + moved, state.bias + change
        return State(beta, bias, self._kernel @ beta + bias), fresh

    def _system(self) -> Float[np.ndarray, "S S"]:
        """K_SS + 1/a."""
        whole = len(self._rows) == len(self._a)
        system = self._kernel.copy() if whole else self._kernel[np.ix_(self._rows, self._rows)]
        system[np.diag_indices(len(system))] += 1 / self._a[self._rows]
        return system.T  # the same matrix, in LAPACK's order: nothing is copied


class Primal:
    """f = phi W + b. Products of float32 features run in float32 by blocks, and are summed in float64."""

    def __init__(self, phi: Float[np.ndarray, "n m"]):
        self._phi = phi
        self._factor: np.ndarray | None = None

    def start(self, bias: np.ndarray) -> State:
        """The constant f = bias."""
        n, m = self._phi.shape
        return State(np.zeros((m, len(bias))), bias, np.tile(bias, (n, 1)))

    def penalty(self, state: State) -> float:
        """1/2 |W|^2."""
        return 0.5 * float(np.square(state.coefficients).sum())

    def solve(self, a: np.ndarray, target: np.ndarray, state: State, fresh: bool) -> tuple[State, bool]:
        """W and b of weighted ridge regression, as a Newton step from `state`: rounding of the matrix is harmless."""
        if fresh or self._factor is None:
            fresh, self._factor = True, self.factor(a)
        gradient = self.gradient(a[:, None] * (target - state.fitted))
        gradient[:-1] -= state.coefficients
        change = _solved(self._factor, gradient)
        end = State(
            state.coefficients + change[:-1], state.bias + change[-1], state.fitted + self.apply(change)
        )
        return end, fresh

    def factor(self, a: Float[np.ndarray, " n"]) -> Float[np.ndarray, "m1 m1"]:
        """Cholesky factor of [phi, 1]' diag(a) [phi, 1] + diag(1, .., 1, 0); its upper half means nothing."""
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
        return _factorised(matrix)

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


def _factorised(matrix: Float[np.ndarray, "m m"]) -> Float[np.ndarray, "m m"]:
    """The Cholesky factor, in the lower half of the matrix itself; the upper half means nothing."""
    factor, _ = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    return factor


def _solved(factor: Float[np.ndarray, "m m"], right: Float[np.ndarray, "m K"]) -> Float[np.ndarray, "m K"]:
    """x with matrix x = right. The half is named here: scipy 1.18 gives it back as an array, before as a bool."""
    return cho_solve((factor, True), right, check_finite=False)
