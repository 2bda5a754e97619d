"""The maximum-entropy model that IIS-LLD and BFGS-LLD share: p_ij = exp(x_i W_j) / sum_l exp(x_i W_l).

Both minimise L(W) = sum_i w_i [logsumexp_j(x_i W) - sum_j D_ij x_i W_j], which is sum_i w_i KL(D_i | p_i) and a
constant (Geng 2016, Eq. 6-7). W is not identifiable, one vector may be added to all its columns; p and L are.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import softmax

from mtp.ldl import checks
from mtp.ldl.params import LdlError, Params

# the floor of a mean label whose logarithm starts a bias: a rating that nobody used
SMALLEST = 1e-6

INITS = ("prior", "zeros", "eye")


def with_bias(x: Float[np.ndarray, "n d"], bias: bool) -> Float[np.ndarray, "n D"]:
    """The features, and a column of ones behind them where there is a bias."""
    return np.column_stack([x, np.ones(len(x))]) if bias else x


def start(data: checks.Training, bias: bool, init: str | np.ndarray) -> Float[np.ndarray, "D K"]:
    """W before the first step.

    "prior": zeros and a bias of ln(mean D), the constant predictor (needs the bias); "zeros": the uniform one;
    "eye": ones on the diagonal, as the authors' code has it; or an array to go on from.
    """
    shape = (data.x.shape[1] + bias, data.d.shape[1])
    if isinstance(init, np.ndarray):
        if init.shape != shape or not np.isfinite(init).all():
            raise LdlError(f"an array init must be finite and {shape}; it is {init.shape}")
        return init.astype(np.float64)
    checks.choice("init", init, INITS)
    if init == "eye":
        return np.eye(*shape)
    w = np.zeros(shape)
    if init == "prior":
        if not bias:
            raise LdlError("init='prior' sets the bias; with bias=False choose init='zeros' or 'eye'")
        mean = data.weight @ data.d / data.weight.sum()
        w[-1] = np.log(np.maximum(mean, SMALLEST))
    return w


def loss(
    w: Float[Array, "D K"], x: Float[Array, "n D"], d: Float[Array, "n K"], weight: Float[Array, " n"]
) -> Float[Array, ""]:
    """L(W) above."""
    logits = x @ w
    return jnp.sum(weight * (jax.nn.logsumexp(logits, axis=1) - jnp.sum(d * logits, axis=1)))


def predict(params: Params, x: np.ndarray, learner: str) -> Float[np.ndarray, "q K"]:
    """Distributions of new rows."""
    x = checks.queries(params, x, learner)
    return softmax(with_bias(x, params.options["bias"]) @ params.arrays["w"], axis=1)


def option_of(init: str | np.ndarray) -> Any:
    """What the stored options say of `init`."""
    return "array" if isinstance(init, np.ndarray) else init
