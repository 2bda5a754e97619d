"""IIS-LLD: the maximum-entropy model, fitted by improved iterative scaling (Geng, Yin and Zhou 2013, section 3.2).

With s_ik = sign(x_ik) and f_i = sum_k |x_ik|, -ln a >= 1 - a and Jensen's inequality bound the gain of a step D from
below by sum_ij w_i D_ij x_i D_j + n - sum_ijk w_i p_ij |x_ik| / f_i exp(D_kj s_ik f_i). Its maximum is one
equation for each feature k and rating j, all of them solved from the same p, with A = X'(w D):

    A_kj - P_kj(D_kj) + N_kj(D_kj) = 0
    P_kj(t) = sum_i w_i p_ij max(x_ik, 0) e^(t f_i),    N_kj(t) = sum_i w_i p_ij max(-x_ik, 0) e^(-t f_i)

P rises and N falls, so there is one root. Where all f_i = F it is ln(z) / F, with z the positive root of
P(0) z^2 - A z - N(0) = 0; for other f_i it lies between ln(z) / max f and ln(z) / min f. "newton" takes Newton
steps inside this bracket, on the logarithm of the equation, which is nearly linear. P and N come from e^(t f)
interpolated in f at m Chebyshev nodes, off by less than r^m e^2r / (2^(m-1) m!) of P and N where
r = |t| (max f - min f) / 2; an iteration that goes too far for that takes all n exponentials. "closed" replaces every
f_i by max f (Darroch and Ratcliff's generalised iterative scaling): a lower bound too, cheaper and about twice as
many iterations. Both raise the likelihood in every iteration, by steps of length ~ 1/f: slowly, where features are
many. "overrelaxed" lengthens the closed form's steps by a factor that grows while the likelihood rises, and falls
back to the step itself, and the factor to one, where it would not (Salakhutdinov and Roweis 2003, adaptive
overrelaxed bound optimisation): the same fixed points, the same guarantee, far fewer iterations.
"""

import functools
from collections.abc import Callable, Sequence

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
NEWTON_STEPS = 4  # residual 9 -> 5e-2 -> 7e-6 -> 2e-13; the last where f varies a hundredfold
NODES = 16
REACH = 1.8  # |t| (max f - min f) / 2 up to which interpolation is off by less than 7e-13 of P and N
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

    Inside, W and all of its shape are (K, D) and the rows lie along the last axis, the long one: sums over ratings
    are then vector operations, and the matrix products need no transposition.
    """
    w, d = w.T, d.T
    target = (weight * d) @ x
    lengths = jnp.sum(jnp.abs(x), axis=1)
    shortest, longest = jnp.min(lengths), jnp.max(lengths)
    limit = LARGEST / longest
    half = jnp.maximum((longest - shortest) / 2, longest / 1000)
    nodes, basis = _nodes(lengths, (longest + shortest) / 2, half)
    signed = jnp.concatenate([jnp.maximum(x, 0), jnp.maximum(-x, 0)], axis=1)
    # a copy: XLA would rather transpose in every product
    across = x.T

    def model(w: Array) -> tuple[Array, Array]:
        """Weighted probabilities (K, n) and L(W)."""
        logits = w @ across
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
        sums = jnp.split(p @ signed, 2, axis=1)
        z = _closed_form(target, *sums)
        step = jnp.log(z) / longest
        if solver == "newton":
            other = jnp.log(z) / shortest
            bracket = jnp.minimum(step, other), jnp.maximum(step, other)
            by_nodes, exactly = (
                functools.partial(_newton, step, bracket, limit, target, sums, sums_at)
                for sums_at in (_by_nodes(p, signed, nodes, basis), _by_rows(p, across, lengths))
            )
            step, furthest = by_nodes()
            step = lax.cond(furthest * half <= REACH, lambda: step, lambda: exactly()[0])
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
    return w.T, values, jnp.asarray(done), jnp.asarray(clips), factor


def _closed_form(
    a: Float[Array, "K D"], p: Float[Array, "K D"], q: Float[Array, "K D"]
) -> Float[Array, "K D"]:
    """The positive root z of p z^2 - a z - q = 0, without cancellation; 1 where the feature is zero everywhere."""
    root = jnp.sqrt(jnp.square(a) + 4 * p * q)
    nowhere = (p == 0) & (q == 0)
    rising = (a + root) / jnp.where(p > 0, 2 * p, 1)
    falling = 2 * q / jnp.where(root - a > 0, root - a, 1)
    return jnp.where(nowhere, 1, jnp.where((a >= 0) & (p > 0), rising, falling))


def _newton(
    step: Float[Array, "K D"],
    bracket: tuple[Array, Array],
    limit: Array,
    target: Array,
    sums: Sequence[Array],
    sums_at: Callable[[Array], Sequence[Array]],
) -> tuple[Float[Array, "K D"], Float[Array, ""]]:
    """Newton's method for all equations at once, and the largest |t| that P and N were asked for.

    sums: P(0) and N(0); sums_at(t): P(t), N(t), P'(t) and -N'(t).
    """
    low, high = (jnp.clip(bound, -limit, limit) for bound in bracket)
    more_below, more_above = jnp.maximum(target, 0), jnp.maximum(-target, 0)
    usable = (sums[0] + more_above > 0) & (sums[1] + more_below > 0)
    t = jnp.clip(step, low, high)
    furthest = jnp.zeros(())
    for _ in range(NEWTON_STEPS):
        furthest = jnp.maximum(furthest, jnp.max(jnp.where(usable, jnp.abs(t), 0)))
        rising, falling, rise, fall = sums_at(t)
        above, below = (jnp.where(usable, total, 1) for total in (rising + more_above, falling + more_below))
        derivative = rise / above + fall / below
        change = (jnp.log(above) - jnp.log(below)) / jnp.where(derivative > 0, derivative, 1)
        t = jnp.clip(t - jnp.where(usable, change, 0), low, high)
    return t, furthest


def _by_rows(p: Float[Array, "K n"], x: Float[Array, "D n"], lengths: Float[Array, " n"]) -> Callable:
    """P, N and their derivatives by their definition, a feature at a time to keep (K, n) exponentials in memory."""

    def of_feature(inputs: tuple[Array, Array]) -> Array:
        t, row = inputs
        parts = jnp.stack([jnp.maximum(row, 0), jnp.maximum(-row, 0)])
        parts = jnp.concatenate([parts, parts * lengths])
        # not lengths * sign(row): XLA leaves a loop with a sign and an exponential scalar, four times as slow
        reach = jnp.where(row < 0, -lengths, lengths)
        return (p * jnp.exp(t[:, None] * reach)) @ parts.T

    return lambda t: jnp.moveaxis(lax.map(of_feature, (t.T, x)), (0, 2), (2, 0))


def _by_nodes(
    p: Float[Array, "K n"],
    signed: Float[Array, "n D2"],
    nodes: Float[Array, " m"],
    basis: Float[Array, "m n"],
) -> Callable:
    """The same with e^(t f_i) interpolated in f: sum_m basis_mi e^(t f_m), so that n rows become m nodes."""
    rising, falling = jnp.split(lax.map(lambda row: (p * row) @ signed, basis), 2, axis=2)
    f = nodes[:, None, None]

    def sums_at(t: Array) -> tuple[Array, ...]:
        up, down = rising * jnp.exp(t * f), falling * jnp.exp(-t * f)
        return tuple(jnp.sum(part, axis=0) for part in (up, down, up * f, down * f))

    return sums_at


def _nodes(
    lengths: Float[Array, " n"], centre: Float[Array, ""], half: Float[Array, ""]
) -> tuple[Float[Array, " m"], Float[Array, "m n"]]:
    """Chebyshev nodes on centre +- half, and the polynomials that are one at a node and zero at the others."""
    angles = (jnp.arange(NODES) + 0.5) * jnp.pi / NODES
    orders = jnp.arange(NODES)[:, None]
    scale = jnp.where(orders == 0, 1, 2) / NODES
    at_rows = jnp.cos(orders * jnp.arccos(jnp.clip((lengths - centre) / half, -1, 1)))
    return centre + half * jnp.cos(angles), (scale * jnp.cos(orders * angles)).T @ at_rows
