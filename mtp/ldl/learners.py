"""All learners by name, and prediction from parameters whose learner is only known from a file."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mtp.ldl import aa_knn, bfgs_lld, iis_lld, ldsvr, svdr
from mtp.ldl.params import LdlError, Params


class Learner(NamedTuple):
    """fit(x, d, *, weight=None, votes=None, key, ...) -> Params; predict(params, x) -> rows on the simplex."""

    fit: Callable[..., Params]
    predict: Callable[[Params, np.ndarray], np.ndarray]


LEARNERS = {
    module.NAME: Learner(module.fit, module.predict) for module in (iis_lld, bfgs_lld, aa_knn, ldsvr, svdr)
}


def predict(params: Params, x: np.ndarray) -> Float[np.ndarray, "q K"]:
    """Distributions (q, K) of rows (q, d), by the learner that the parameters name."""
    if params.learner not in LEARNERS:
        raise LdlError(f"there is no learner {params.learner!r}; there are {', '.join(LEARNERS)}")
    return LEARNERS[params.learner].predict(params, x)
