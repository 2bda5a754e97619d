"""The radial kernel exp(-|a - b|^2 / (2 s^2)): exactly, and by random Fourier features."""

import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.distance import pdist

from mtp.ldl.params import LdlError

BLOCK = 8192  # rows of one matrix product
SAMPLE = 2000  # rows whose mean distance sets the width, evenly spaced where there are more
WIDE = 2**29  # bytes; larger feature matrices are kept in float32


def width(x: Float[np.ndarray, "n d"], scale: float) -> float:
    """scale times the mean distance between training rows (of `SAMPLE` of them, evenly spaced)."""
    rows = x if len(x) <= SAMPLE else x[np.linspace(0, len(x) - 1, SAMPLE).round().astype(int)]
    mean = float(pdist(rows).mean()) if len(rows) > 1 else 0.0
    if not mean > 0:
        raise LdlError("the kernel's width is the mean distance between rows of x; all rows are equal")
    return scale * mean


def rbf(a: Float[np.ndarray, "q d"], b: Float[np.ndarray, "n d"], sigma: float) -> Float[np.ndarray, "q n"]:
    """exp(-|a_i - b_j|^2 / (2 sigma^2))."""
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    k = a @ b.T
    k *= 2
    k -= np.square(a).sum(axis=1)[:, None]
    k -= np.square(b).sum(axis=1)
    k *= 0.5 / sigma**2
    np.minimum(k, 0, out=k)
    return np.exp(k, out=k)


def frequencies(d: int, features: int, sigma: float, key: Array) -> tuple[np.ndarray, np.ndarray]:
    """Directions (d, features) ~ N(0, 1/sigma^2) and phases (features,) ~ U[0, 2 pi)."""
    directions, phases = jax.random.split(key)
    omega = np.asarray(jax.random.normal(directions, (d, features)), np.float64) / sigma
    return omega, np.asarray(jax.random.uniform(phases, (features,)), np.float64) * 2 * np.pi


def fourier(
    x: Float[np.ndarray, "n d"], omega: Float[np.ndarray, "d m"], phase: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "n m"]:
    """sqrt(2/m) cos(x omega + phase): inner products approximate the kernel (Rahimi and Recht 2007).

    In float64 up to `WIDE` bytes, in float32 beyond.
    """
    m = omega.shape[1]
    dtype = np.float64 if len(x) * m * 8 <= WIDE else np.float32
    result = np.empty((len(x), m), dtype)
    for at in range(0, len(x), BLOCK):
        rows = slice(at, at + BLOCK)
        angles = x[rows].astype(dtype) @ omega.astype(dtype)
        angles += phase.astype(dtype)
        np.cos(angles, out=result[rows])
    result *= dtype(np.sqrt(2 / m))
    return result
