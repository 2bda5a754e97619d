"""BFGS-LLD: the maximum-entropy model, fitted by a quasi-Newton method (Geng 2016, section 3.3).

The optimum that IIS-LLD creeps towards; with lambda > 0 its ridge-regularised form.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float

from mtp.ldl import checks, maxent
from mtp.ldl.params import Convergence, Params, fitted

NAME = "bfgs_lld"


def fit(
    x: np.ndarray,
    d: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    votes: np.ndarray | None = None,
    key: Array,
    penalty: float = 0.0,
    bias: bool = True,
    init: str | np.ndarray = "prior",
    iterations: int = 600,
    tolerance: float = 1e-6,
) -> Params:
    """Minimise L(W) / sum w + penalty/2 |W|^2 by L-BFGS in float64.

    x: (n, d); d: (n, K) on the simplex; weight: (n,). votes and key are not used (one interface for all learners).
    penalty: per picture; the bias is free of it. init: as `maxent.start`.
    tolerance: of the largest gradient entry, where it stops. Errors: LdlError on bad input.
    """
    data = checks.training(x, d, weight, votes)
    checks.not_negative(penalty=penalty)
    checks.positive(iterations=iterations, tolerance=tolerance)
    w = maxent.start(data, bias, init)
    ridge = np.full((w.shape[0], 1), penalty)
    if bias:
        ridge[-1] = 0.0
    with jax.enable_x64(True):
        arrays = [jnp.asarray(a) for a in (maxent.with_bias(data.x, bias), data.d, data.weight, ridge)]
        w, convergence = _minimise(lambda v: _value_and_gradient(v, *arrays), w, iterations, tolerance)
    options = {
        "features": data.x.shape[1], "penalty": penalty, "bias": bias, "init": maxent.option_of(init),
        "iterations": iterations, "tolerance": tolerance,
    }  # fmt: skip
    return fitted(NAME, {"w": w}, options, convergence)


def predict(params: Params, x: np.ndarray) -> Float[np.ndarray, "q K"]:
    """(q, d) to rows on the simplex."""
    return maxent.predict(params, x, NAME)


def _minimise(
    function: Callable[[Array], tuple[Array, Array]], w: np.ndarray, iterations: int, tolerance: float
) -> tuple[np.ndarray, Convergence]:
    shape = w.shape

    def flat(v: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = function(jnp.asarray(v.reshape(shape)))
        return float(value), np.asarray(gradient, np.float64).ravel()

    objective = [flat(w.ravel())[0]]
    found = scipy.optimize.minimize(
        flat, w.ravel(), jac=True, method="L-BFGS-B",
        callback=lambda intermediate_result: objective.append(float(intermediate_result.fun)),
        # ftol 0: only the gradient stops it
        options={"maxiter": iterations, "maxfun": 20 * iterations, "gtol": tolerance, "ftol": 0.0, "maxcor": 20},
    )  # fmt: skip
    # a line search that finds nothing lower has reached the rounding of the objective
    exact = float(np.abs(found.jac).max()) <= 100 * tolerance and found.status == 2
    record = Convergence(tuple(objective), bool(found.success or exact), str(found.message))
    return found.x.reshape(shape), record


@jax.jit
def _value_and_gradient(
    w: Array, x: Array, d: Array, weight: Array, ridge: Array
) -> tuple[Float[Array, ""], Float[Array, "D K"]]:
    def objective(w: Array) -> Array:
        return maxent.loss(w, x, d, weight) / jnp.sum(weight) + 0.5 * jnp.sum(ridge * jnp.square(w))

    return jax.value_and_grad(objective)(w)
