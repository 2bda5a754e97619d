"""Standardised features and their principal components, learnt from training rows only."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mtp.ldl import checks
from mtp.ldl.params import LdlError


class Projection(NamedTuple):
    """x -> ((x - mean) / scale) components / spread: uncorrelated columns of variance one on the training rows.

    mean, scale: (d,); components: (d, p), orthonormal columns; spread: (p,); explained: share of the variance kept.
    """

    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    components: Float[np.ndarray, "d p"]
    spread: Float[np.ndarray, " p"]
    explained: float

    def __call__(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n p"]:
        """The projected rows."""
        x = checks.features(x, len(self.mean))
        return (x - self.mean) / self.scale @ self.components / self.spread


def learn(x: Float[np.ndarray, "n d"], dimensions: int) -> Projection:
    """At most `dimensions` components of the training rows; fewer where they span fewer.

    Constant features are left out (they would be divided by zero). Signs are fixed: each component's largest entry
    is positive. Errors: LdlError where the features are not finite, or all constant.
    """
    x = checks.features(x)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    # a constant's deviations are rounding errors
    varies = spread > 1e-12 * np.maximum(np.abs(mean), np.finfo(float).tiny)
    if not varies.any():
        raise LdlError(
            f"every feature is constant over the {len(x)} training rows; there is nothing to learn from"
        )
    scale = np.where(varies, spread, 1.0)
    standard = (x - mean) / scale * varies
    variances, vectors = np.linalg.eigh(standard.T @ standard / len(x))
    order = np.argsort(-variances)[:dimensions]
    order = order[variances[order] > 1e-10 * variances.max()]
    components = vectors[:, order] * varies[:, None]
    components *= np.sign(components[np.abs(components).argmax(axis=0), np.arange(len(order))])
    explained = float(variances[order].sum() / variances.clip(0).sum())
    return Projection(mean, scale, components, np.sqrt(variances[order]), explained)
