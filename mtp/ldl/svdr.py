"""SVDR-like: support vector regression onto the simplex, in the manner of Wu, Hu and Gao (2011).

A reconstruction: what is known of SVDR here is its abstract (a structural-output support vector regression of
distributions, with reliability-sensitive learning and label refinement as extensions), not its equations. Ours:

    min 1/2 |W|^2 + C sum_i rho_i max(|d_i - f_i| - eps, 0)^2    with sum_j f_ij = 1 everywhere, f_ij >= 0 in training

over f = phi(x) W + b, with b free and one norm for all ratings. The sum is one for every x where the rows of W sum to
zero and b sums to one, which the optimum without f >= 0 does by itself (`irwls` finds it). Where it has negative
bins, the method of multipliers adds sum_ij max(m_ij - p f_ij, 0)^2 / (2 p), which L-BFGS minimises over steps whose
rows sum to zero, preconditioned with the first problem's Hessian, and sets m = max(m - p f, 0), until f >= 0 holds. A
prediction is the nearest point of the simplex. Permuting the ratings permutes the predictions: their order plays no
part.
"""

import numpy as np
import scipy.optimize
from jaxtyping import Array, Float
from scipy.linalg import solve_triangular

from mtp.ldl import aa_knn, checks, irwls, kernels, systems
from mtp.ldl.params import Convergence, LdlError, Params, fitted

NAME = "svdr_like"
KERNELS = ("rbf", "linear")
RELIABILITIES = ("none", "votes", "variance")
PRICE = 20.0  # of a negative bin, in C
ROUNDS = 50  # of multipliers
VIOLATION = 5e-4  # of the constraint, in probability; the projection fixes the rest
NEIGHBOURS = 20  # of the label refinement
MOST_FEATURES = 2048


def fit(
    x: np.ndarray,
    d: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    votes: np.ndarray | None = None,
    key: Array,
    c: float = 10.0,
    epsilon: float = 0.05,
    kernel: str = "rbf",
    width: float = 1.0,
    features: int = 0,
    reliability: str = "none",
    refine: float = 0.0,
    non_negative: bool = True,
    iterations: int = 1000,
    tolerance: float = 1e-7,
) -> Params:
    """Fit in float64.

    x: (n, d); d: (n, K) on the simplex; weight: (n,), scaled to mean 1, multiplies rho; votes: (n, K) counts, needed by
    the extensions.
    kernel: "rbf", its width in mean distances, by `features` random Fourier features (0: as many as rows, at most
    2,048); or "linear".
    reliability: rho_i = m_i / (m_i + median m) for m_i votes ("votes"), or 1 / (tau^2 + (1 - |q_i|^2) / m_i) with
    q_i = (votes + 1/2) / (m_i + K/2) and tau^2 the median of that ratio ("variance"), of mean 1; "none": 1.
    refine: kappa > 0 moves labels to (m_i d_i + kappa mean of 20 neighbours) / (m_i + kappa).
    non_negative: the constraint f >= 0. iterations: of a round; tolerance: relative decrease where one stops.
    Errors: LdlError on bad input.
    """
    data = checks.training(x, d, weight, votes)
    checks.choice("kernel", kernel, KERNELS)
    checks.positive(c=c, width=width, iterations=iterations, tolerance=tolerance)
    checks.not_negative(epsilon=epsilon, refine=refine, features=features)
    features = features or min(len(data.x), MOST_FEATURES)
    target = _refined(data, votes, refine, key) if refine else data.d
    rho = _reliability(data, votes, reliability)
    arrays: dict[str, np.ndarray] = {}
    phi = data.x
    if kernel == "rbf":
        sigma = kernels.width(data.x, width)
        arrays["omega"], arrays["phase"] = kernels.frequencies(data.x.shape[1], features, sigma, key)
        phi = kernels.fourier(data.x, arrays["omega"], arrays["phase"])
    problem, tube = systems.Primal(phi), irwls.Tube(c, epsilon, 1.0)
    state, convergence = irwls.minimise(problem, target, rho, tube, iterations, tolerance)
    if non_negative and state.fitted.min() < 0:
        state, convergence = _not_negative(problem, target, rho, tube, state, iterations, tolerance)
    arrays |= {"coefficients": state.coefficients, "bias": state.bias}
    options = {
        "features": data.x.shape[1], "c": c, "epsilon": epsilon, "kernel": kernel, "width": width,
        "fourier_features": features if kernel == "rbf" else 0, "reliability": reliability, "refine": refine,
        "non_negative": non_negative, "iterations": iterations, "tolerance": tolerance,
    }  # fmt: skip
    return fitted(NAME, arrays, options, convergence)


def predict(params: Params, x: np.ndarray) -> Float[np.ndarray, "q K"]:
    """(q, d) to rows on the simplex: the points nearest to f."""
    x = checks.queries(params, x, NAME)
    parts = [outputs(params, x[at : at + kernels.BLOCK]) for at in range(0, len(x), kernels.BLOCK)]
    return project(np.concatenate([np.empty((0, len(params.arrays["bias"]))), *parts]))


def outputs(params: Params, x: Float[np.ndarray, "q d"]) -> Float[np.ndarray, "q K"]:
    """f before the projection; rows sum to one."""
    a = params.arrays
    phi = kernels.fourier(x, a["omega"], a["phase"]) if "omega" in a else x
    return phi @ a["coefficients"] + a["bias"]


def project(rows: Float[np.ndarray, "q K"]) -> Float[np.ndarray, "q K"]:
    """Euclidean projection onto the simplex: max(f - t, 0), with t such that it sums to one (Held et al. 1974)."""
    ordered = -np.sort(-rows, axis=1)
    excess = np.cumsum(ordered, axis=1) - 1
    count = np.arange(1, rows.shape[1] + 1)
    kept = np.sum(ordered * count > excess, axis=1)
    t = np.take_along_axis(excess, kept[:, None] - 1, axis=1) / kept[:, None]
    result = np.maximum(rows - t, 0)
    return result / result.sum(axis=1, keepdims=True)


def _reliability(data: checks.Training, votes: np.ndarray | None, kind: str) -> Float[np.ndarray, " n"]:
    checks.choice("reliability", kind, RELIABILITIES)
    if kind == "none":
        return data.weight
    m = _counts(votes, f"reliability={kind!r}")
    if kind == "votes":
        rho = m / (m + np.median(m))
    else:
        # two voters who agree are not certain
        q = (data.d * m[:, None] + 0.5) / (m[:, None] + data.d.shape[1] / 2)
        noise = (1 - np.square(q).sum(axis=1)) / m
        rho = 1 / (np.median(noise) + noise)
    return data.weight * rho / rho.mean()


def _refined(
    data: checks.Training, votes: np.ndarray | None, kappa: float, key: Array
) -> Float[np.ndarray, "n K"]:
    m = _counts(votes, "refine > 0")[:, None]
    near = aa_knn.fit(data.x, data.d, key=key, k=min(NEIGHBOURS, len(data.x) - 1) or 1)
    smooth = aa_knn.predict(near, data.x, skip_self=len(data.x) > 1)
    return (m * data.d + kappa * smooth) / (m + kappa)


def _counts(votes: np.ndarray | None, option: str) -> Float[np.ndarray, " n"]:
    if votes is None:
        raise LdlError(f"{option} needs votes, (n, K) counts; give them or leave the option out")
    return np.asarray(votes, np.float64).sum(axis=1)


def _not_negative(
    problem: systems.Primal,
    target: Float[np.ndarray, "n K"],
    rho: Float[np.ndarray, " n"],
    tube: irwls.Tube,
    state: irwls.State,
    iterations: int,
    tolerance: float,
) -> tuple[irwls.State, Convergence]:
    """From the optimum without the constraint; the record holds the augmented objective of all rounds."""
    augmented = _Augmented(problem, target, rho, tube, state)
    price = augmented.price
    z, multiplier, violation = np.zeros(augmented.first.size), np.zeros_like(target), np.inf
    objective, w = [augmented(z, multiplier)[0]], augmented.first
    rounds = 0
    while violation > VIOLATION and rounds < ROUNDS:
        rounds += 1
        found = scipy.optimize.minimize(
            augmented, z, args=(multiplier,), jac=True, method="L-BFGS-B",
            callback=lambda intermediate_result: objective.append(float(intermediate_result.fun)),
            options={"maxiter": iterations, "maxfun": 2 * iterations, "ftol": tolerance, "gtol": 0.0, "maxcor": 30},
        )  # fmt: skip
        z, w = found.x, augmented.place(found.x)
        f = problem.apply(w)
        violation = float(np.abs(np.minimum(f, multiplier / price)).max())
        multiplier = np.maximum(multiplier - price * f, 0)
    reason = f"f >= 0 within {violation:.2g} after {rounds} rounds of multipliers (wanted {VIOLATION:g})"
    end = irwls.State(w[:-1], w[-1], problem.apply(w))
    return end, Convergence(tuple(objective), violation <= VIOLATION, reason)


class _Augmented:
    """(z, multipliers (n, K)) -> the augmented objective and its gradient in z.

    z are steps from the optimum without the constraint, w = first + L'^-1 z with L L' its Hessian, in which that
    problem is a sphere; their rows are centred, so that outputs go on summing to one.
    """

    def __init__(
        self,
        problem: systems.Primal,
        target: np.ndarray,
        rho: np.ndarray,
        tube: irwls.Tube,
        state: irwls.State,
    ):
        self._problem, self._target, self._rho, self._tube = problem, target, rho, tube
        a = tube.row_weights(target - state.fitted, rho)
        self._lower = problem.factor(a if (a > 0).any() else rho)
        self.first = np.vstack([state.coefficients, state.bias])
        self.price = PRICE * tube.c

    def place(self, z: Float[np.ndarray, " mK"]) -> Float[np.ndarray, "m1 K"]:
        """Coefficients, and the bias below them."""
        z = z.reshape(self.first.shape)
        return self.first + _solve(self._lower, z - z.mean(axis=1, keepdims=True), 1)

    def __call__(self, z: np.ndarray, multiplier: Float[np.ndarray, "n K"]) -> tuple[float, np.ndarray]:
        w = self.place(z)
        f = self._problem.apply(w)
        pushed, residual = np.maximum(multiplier - self.price * f, 0), self._target - f
        pull = self._tube.row_weights(residual, self._rho)[:, None] * residual
        gradient = self._problem.gradient(-pull - pushed)
        gradient[:-1] += w[:-1]
        total = 0.5 * np.square(w[:-1]).sum() + self._tube.loss(residual, self._rho)
        total += np.square(pushed).sum() / (2 * self.price)
        step = _solve(self._lower, gradient, 0)
        return float(total), (step - step.mean(axis=1, keepdims=True)).ravel()


def _solve(lower: Float[np.ndarray, "m m"], right: Float[np.ndarray, "m K"], trans: int) -> np.ndarray:
    """Of a Cholesky factor, whose upper half is not read."""
    return solve_triangular(lower, right, lower=True, trans=trans, check_finite=False)
