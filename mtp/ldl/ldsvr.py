"""LDSVR: support vector regression of distributions through a sigmoid (Geng and Hou 2015).

Targets are t = -ln(1/y - 1), predictions sigmoid(f(x)) divided by their sum. A sigmoid is nowhere steeper than 1/4, so
|y_i - sigmoid(f_i)| <= |t_i - f_i| / 4 =: u_i, one norm for all ratings, and

    min 1/2 |w|^2 + C sum_i w_i max(u_i - eps, 0)^2

with the rows' weights w_i scaled to mean 1 (so that C keeps its meaning: a row of weight 2 counts twice as much as one
of weight 1, but is not two rows) is solved by `irwls` with the gradient's own weights
(2 C w_i / 4) (u_i - eps) / |e_i|. Up to `DUAL_ROWS` rows with the exact radial kernel, beyond with random Fourier
features.
"""

import numpy as np
from jaxtyping import Array, Float
from scipy.special import expit, logit

from mtp.ldl import checks, irwls, kernels, systems
from mtp.ldl.params import LdlError, Params, fitted

NAME = "ldsvr"
DUAL_ROWS = 5000  # 8 n^2 bytes and n^3 operations a step
SLOPE = 0.25  # the sigmoid's largest
ZEROS = ("fill", "jeffreys")


def fit(
    x: np.ndarray,
    d: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    votes: np.ndarray | None = None,
    key: Array,
    c: float = 1.0,
    epsilon: float = 0.1,
    width: float = 1.0,
    features: int = 0,
    zeros: str = "fill",
    iterations: int = 500,
    tolerance: float = 1e-10,
) -> Params:
    """Fit in float64.

    x: (n, d); d: (n, K) on the simplex; weight: (n,), w_i above; votes: (n, K) counts, needed for zeros="jeffreys".
    c, epsilon: above. width: of the kernel, in mean distances between training rows. features: number of random
    Fourier features; 0: the exact kernel up to 5,000 rows, 2,048 features beyond. zeros: empty bins have no logit;
    "fill" sets them to 1 / (10 K) and renormalises, "jeffreys" takes (votes + 1/2) / (sum + K/2).
    Errors: LdlError on bad input.
    """
    data = checks.training(x, d, weight, votes)
    checks.positive(c=c, width=width, iterations=iterations, tolerance=tolerance)
    checks.not_negative(epsilon=epsilon, features=features)
    target = logit(_positive(data.d, votes, zeros))
    sigma = kernels.width(data.x, width)
    features = features or (0 if len(data.x) <= DUAL_ROWS else 2048)
    tube = irwls.Tube(c, epsilon, SLOPE)
    if features:
        omega, phase = kernels.frequencies(data.x.shape[1], features, sigma, key)
        problem: irwls.Problem = systems.Primal(kernels.fourier(data.x, omega, phase))
    else:
        problem = systems.Dual(kernels.rbf(data.x, data.x, sigma))
    state, convergence = irwls.minimise(problem, target, data.weight, tube, iterations, tolerance)
    arrays = {"coefficients": state.coefficients, "bias": state.bias}
    if features:
        arrays |= {"omega": omega, "phase": phase}
    else:
        support = np.flatnonzero(state.coefficients.any(axis=1))
        arrays |= {"coefficients": state.coefficients[support], "x": data.x[support]}
    options = {
        "features": data.x.shape[1], "c": c, "epsilon": epsilon, "width": width, "sigma": sigma,
        "fourier_features": features, "zeros": zeros, "iterations": iterations, "tolerance": tolerance,
    }  # fmt: skip
    return fitted(NAME, arrays, options, convergence)


def predict(params: Params, x: np.ndarray) -> Float[np.ndarray, "q K"]:
    """(q, d) to rows on the simplex."""
    x = checks.queries(params, x, NAME)
    parts = [_outputs(params, x[at : at + kernels.BLOCK]) for at in range(0, len(x), kernels.BLOCK)]
    shares = expit(np.concatenate([np.empty((0, len(params.arrays["bias"]))), *parts]))
    return shares / shares.sum(axis=1, keepdims=True)


def _outputs(params: Params, x: np.ndarray) -> Float[np.ndarray, "q K"]:
    a = params.arrays
    if "omega" in a:
        return kernels.fourier(x, a["omega"], a["phase"]) @ a["coefficients"] + a["bias"]
    return kernels.rbf(x, a["x"], params.options["sigma"]) @ a["coefficients"] + a["bias"]


def _positive(d: Float[np.ndarray, "n K"], votes: np.ndarray | None, zeros: str) -> Float[np.ndarray, "n K"]:
    """Distributions without empty bins."""
    checks.choice("zeros", zeros, ZEROS)
    if zeros == "jeffreys":
        if votes is None:
            raise LdlError("zeros='jeffreys' needs votes, (n, K) counts; give them or choose zeros='fill'")
        counts = np.asarray(votes, np.float64) + 0.5
        return counts / counts.sum(axis=1, keepdims=True)
    raised = np.where(d > 0, d, 1 / (10 * d.shape[1]))
    return raised / raised.sum(axis=1, keepdims=True)
