"""IIS-LLD: the maximum-entropy model, fitted by improved iterative scaling (Geng, Yin and Zhou 2013, section 3.2).

With s_ik = sign(x_ik) and f_i = sum_k |x_ik|, -ln a >= 1 - a and Jensen's inequality bound the gain of a step D from
below by sum_ij w_i D_ij x_i D_j + n - sum_ijk w_i p_ij |x_ik| / f_i exp(D_kj s_ik f_i). Its maximum is one
equation for each feature k and rating j, all of them solved from the same p, with A = X'(w D):

    A_kj - P_kj(D_kj) + N_kj(D_kj) = 0
    P_kj(t) = sum_i w_i p_ij max(x_ik, 0) e^(t f_i),    N_kj(t) = sum_i w_i p_ij max(-x_ik, 0) e^(-t f_i)

P rises and N falls, so there is one root. Where all f_i = F it is ln(z) / F, with z the positive root of
P(0) z^2 - A z - N(0) = 0; for other f_i it lies between ln(z) / max f and ln(z) / min f. "newton" takes three Newton
steps inside this bracket, on the logarithm of the equation, which is nearly linear. "closed" replaces every f_i by
max f (Darroch and Ratcliff's generalised iterative scaling): a lower bound too, cheaper and about twice as many
iterations. Both raise the likelihood in every iteration, by steps of length ~ 1/f: slowly, where features are many.
"overrelaxed" lengthens the closed form's steps by a factor that grows while the likelihood rises, and falls back to
the step itself, and the factor to one, where it would not (Salakhutdinov and Roweis 2003, adaptive overrelaxed bound
optimisation): the same fixed points, the same guarantee, far fewer iterations.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float
from tqdm import tqdm

from mtp.ldl import checks, maxent
from mtp.ldl.params import Convergence, Params, fitted

NAME = "iis_lld"
SOLVERS = ("newton", "closed", "overrelaxed")
GROWTH = 1.25  # of the overrelaxed step's factor, an iteration
NEWTON_STEPS = 3  # residual 9 -> 5e-2 -> 7e-6 -> 2e-13
LARGEST = 20.0  # |step| max f; a rating that nobody used would go to minus infinity
CHUNK = 50  # iterations of one program call


def fit(
    x: np.ndarray,
    d: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    votes: np.ndarray | None = None,
    key: Array,
    solver: str = "newton",
    bias: bool = True,
    init: str | np.ndarray = "prior",
    iterations: int = 500,
    tolerance: float = 1e-7,
) -> Params:
    """Improved iterative scaling in float64.

    x: (n, d); d: (n, K) on the simplex; weight: (n,). votes and key are not used (one interface for all learners).
    bias: a constant feature; without it the average of standardised features predicts the uniform distribution, as
    the original model does. init: as `maxent.start`. tolerance: it stops where an iteration lowers L by less than
    this for each picture. Errors: LdlError on bad input.
    """
    data = checks.training(x, d, weight, votes)
    checks.choice("solver", solver, SOLVERS)
    checks.positive(iterations=iterations, tolerance=tolerance)
    w = maxent.start(data, bias, init)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(a) for a in (maxent.with_bias(data.x, bias), data.d, data.weight)]
        w, convergence, clipped = _iterate(jnp.asarray(w), arrays, solver, iterations, tolerance)
    options = {
        "features": data.x.shape[1], "solver": solver, "bias": bias, "init": maxent.option_of(init),
        "iterations": iterations, "tolerance": tolerance, "clipped_steps": clipped,
    }  # fmt: skip
    return fitted(NAME, {"w": w}, options, convergence)


def predict(params: Params, x: np.ndarray) -> Float[np.ndarray, "q K"]:
    """(q, d) to rows on the simplex."""
    return maxent.predict(params, x, NAME)


def _iterate(
    w: Array, arrays: list[Array], solver: str, iterations: int, tolerance: float
) -> tuple[np.ndarray, Convergence, int]:
    """Iterations in chunks of one program, until L stands still; how many steps were clipped."""
    objective = [float(maxent.loss(w, *arrays))]
    least = tolerance * arrays[1].shape[0]
    clipped, done, factor = 0, 0, jnp.ones(())
    with tqdm(total=iterations, desc="IIS-LLD", unit="it", disable=None, leave=False) as bar:
        while done < iterations:
            stop = min(CHUNK, iterations - done)
            w, values, taken, clips, factor = _chunk(
                w, objective[-1], factor, least, stop, *arrays, solver=solver
            )
            objective += np.asarray(values)[: int(taken)].tolist()
            clipped, done = clipped + int(clips), done + int(taken)
            bar.update(int(taken))
            if objective[-2] - objective[-1] < least:
                reason = f"an iteration lowered L by less than {tolerance:g} a picture"
                return np.asarray(w), Convergence(tuple(objective), True, reason), clipped
    reason = f"the limit of {iterations} iterations"
    return np.asarray(w), Convergence(tuple(objective), False, reason), clipped


@functools.partial(jax.jit, static_argnames="solver")
def _chunk(
    w: Array,
    value: Array,
    factor: Array,
    least: Array,
    stop: Array,
    x: Array,
    d: Array,
    weight: Array,
    *,
    solver: str,
) -> tuple[Array, ...]:
    """At most `stop` iterations: W, the objective after each, how many, how many clipped steps, the next factor.

    Rows lie along the last axis of every array, the long one: sums over ratings are then vector operations.
    """
    x, d = x.T, d.T
    target = x @ (weight * d).T
    lengths = jnp.sum(jnp.abs(x), axis=0)
    longest = jnp.max(lengths)
    limit = LARGEST / longest
    signed = jnp.concatenate([jnp.maximum(x, 0), jnp.maximum(-x, 0)])

    def model(w: Array) -> tuple[Array, Array]:
        """Weighted probabilities (K, n) and L(W)."""
        logits = w.T @ x
        highest = jnp.max(logits, axis=0)
        terms = jnp.exp(logits - highest)
        total = jnp.sum(terms, axis=0)
        value = jnp.sum(weight * (jnp.log(total) + highest)) - jnp.sum(target * w)
        return terms * (weight / total), value

    def goes_on(state: tuple) -> Bool[Array, ""]:
        _, _, _, last, before, done, _, _ = state
        return (done < stop) & ((done == 0) | (before - last >= least))

    def moved(w: Array) -> tuple[Array, Array, Array]:
        return w, *model(w)

    def iteration(state: tuple) -> tuple:
        w, p, values, last, _, done, clips, factor = state
        z = _closed_form(target, *jnp.split(signed @ p.T, 2))
        step = jnp.log(z) / longest
        if solver == "newton":
            other = jnp.log(z) / jnp.min(lengths)
            bracket = jnp.minimum(step, other), jnp.maximum(step, other)
            step = _newton(step, bracket, target, p, x, lengths, limit)
        clips += jnp.sum(jnp.abs(step) >= limit)
        step = jnp.clip(step, -limit, limit)
        if solver == "overrelaxed":
            bold = moved(w + factor * step)
            rises = bold[2] <= last
            w, p, new = lax.cond(rises, lambda: bold, lambda: moved(w + step))
            factor = jnp.where(rises, factor * GROWTH, 1.0)
        else:
            w, p, new = moved(w + step)
        return w, p, values.at[done].set(new), new, last, done + 1, clips, factor

    first = (w, model(w)[0], jnp.zeros(CHUNK), jnp.asarray(value), jnp.inf, 0, 0, factor)
    w, _, values, _, _, done, clips, factor = lax.while_loop(goes_on, iteration, first)
    return w, values, jnp.asarray(done), jnp.asarray(clips), factor


def _closed_form(
    a: Float[Array, "D K"], p: Float[Array, "D K"], q: Float[Array, "D K"]
) -> Float[Array, "D K"]:
    """The positive root z of p z^2 - a z - q = 0, without cancellation; 1 where the feature is zero everywhere."""
    root = jnp.sqrt(jnp.square(a) + 4 * p * q)
    nowhere = (p == 0) & (q == 0)
    rising = (a + root) / jnp.where(p > 0, 2 * p, 1)
    falling = 2 * q / jnp.where(root - a > 0, root - a, 1)
    return jnp.where(nowhere, 1, jnp.where((a >= 0) & (p > 0), rising, falling))


def _newton(
    step: Array, bracket: tuple[Array, Array], target: Array, p: Array, x: Array, lengths: Array, limit: Array
) -> Float[Array, "D K"]:
    """Newton's method for all equations at once, a feature at a time to keep (K, n) exponentials in memory."""

    def of_feature(inputs: tuple) -> Array:
        t, low, high, a, row = inputs
        low, high = jnp.clip(low, -limit, limit), jnp.clip(high, -limit, limit)
        t = jnp.clip(t, low, high)
        moments = jnp.stack([jnp.maximum(row, 0), jnp.maximum(-row, 0)])
        moments = jnp.concatenate([moments, moments * lengths])
        reach = jnp.sign(row) * lengths
        for _ in range(NEWTON_STEPS):
            rising, falling, rise, fall = moments @ (p * jnp.exp(t[:, None] * reach)).T
            above, below = rising + jnp.maximum(-a, 0), falling + jnp.maximum(a, 0)
            usable = (above > 0) & (below > 0)
            above, below = jnp.where(usable, above, 1), jnp.where(usable, below, 1)
            slope = rise / above + fall / below
            change = (jnp.log(above) - jnp.log(below)) / jnp.where(slope > 0, slope, 1)
            t = jnp.clip(t - jnp.where(usable, change, 0), low, high)
        return t

    return lax.map(of_feature, (step, *bracket, target, x))
