"""AA-kNN: the mean of the k nearest training pictures' distributions (Geng 2016, section 3.2). Exact.

Distances of a tile of queries to all training rows come from one matrix product in float64, on centred features so
that |a|^2 - 2 ab + |b|^2 loses no digits to a common offset. Equally near rows: the one that stands first in
the training data is taken.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Array, Float, Int

from mtp.ldl import checks
from mtp.ldl.params import NO_SOLVER, LdlError, Params, fitted

NAME = "aa_knn"
METRICS = ("l2", "cosine")
TILE = 2**18  # distances at once, a thread: they stay in the cache
LEAST = 64  # queries at once all the same: fewer waste the matrix product
GROUPS = 8  # groups of columns a neighbour, in the search for a bound
THREADS = 2


def fit(
    x: np.ndarray,
    d: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    votes: np.ndarray | None = None,
    key: Array,
    k: int = 50,
    metric: str = "l2",
) -> Params:
    """Keeps the training data; k: neighbours; metric: "l2" or "cosine" (1 - cosine similarity).

    x: (n, d); d: (n, K) on the simplex; weight: (n,), of each neighbour in the mean. votes and key are not used.
    Errors: LdlError on bad input, k > n, or a row of zeros under the cosine metric.
    """
    data = checks.training(x, d, weight, votes)
    checks.choice("metric", metric, METRICS)
    if not 1 <= k <= len(data.x):
        raise LdlError(f"k must lie in 1..n, n = {len(data.x)} training rows; it is {k}")
    centre = data.x.mean(axis=0) if metric == "l2" else np.zeros(data.x.shape[1])
    rows = _placed(data.x, centre, metric)
    arrays = {"x": rows, "d": data.d, "weight": data.weight, "centre": centre}
    return fitted(NAME, arrays, {"features": rows.shape[1], "k": k, "metric": metric}, NO_SOLVER)


def predict(params: Params, x: np.ndarray, *, skip_self: bool = False) -> Float[np.ndarray, "q K"]:
    """(q, d) to rows on the simplex. skip_self: x are the training rows, none is a neighbour of itself."""
    a, k = params.arrays, params.options["k"]
    near = neighbours(params, x, k + skip_self, skip_self=skip_self)
    weight = a["weight"][near]
    total = weight.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        raise LdlError(
            "all neighbours of a row weigh nothing; raise k or give the training rows positive weights"
        )
    return np.einsum("qk,qkc->qc", weight / total, a["d"][near])


def neighbours(params: Params, x: np.ndarray, k: int, *, skip_self: bool = False) -> Int[np.ndarray, "q _"]:
    """Training rows nearest to each row of x, nearest first: k of them, less its own where `skip_self`."""
    a = params.arrays
    x = _placed(checks.queries(params, x, NAME), a["centre"], params.options["metric"])
    if not 1 <= k <= len(a["x"]):
        raise LdlError(f"k must lie in 1..{len(a['x'])} (one less without a row's own); it is {k}")
    # |b|^2 - 2 ab as one product; |a|^2 is the same for all training rows and left out
    rows = np.column_stack([a["x"], np.square(a["x"]).sum(axis=1)]).T
    queries = np.column_stack([-2 * x, np.ones(len(x))])

    size = max(LEAST, TILE // rows.shape[1])

    def search(part: np.ndarray) -> list[np.ndarray]:
        # fresh pages would cost as much as the product
        space = np.empty((size, rows.shape[1]))
        tiles = [part[at : at + size] for at in range(0, len(part), size)]
        return [_smallest(np.matmul(tile, rows, out=space[: len(tile)]), k) for tile in tiles]

    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(search, np.array_split(queries, THREADS))
        near = np.concatenate([np.empty((0, k), np.int64), *itertools.chain.from_iterable(found)])
    if not skip_self:
        return near
    own = near == np.arange(len(x))[:, None]
    # among k duplicates a row may not be its own neighbour at all
    own[~own.any(axis=1), -1] = True
    return near[~own].reshape(len(x), k - 1)


def _placed(x: np.ndarray, centre: np.ndarray, metric: str) -> Float[np.ndarray, "n d"]:
    """Rows whose Euclidean order is the metric's."""
    if metric == "l2":
        return x - centre
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise LdlError(
            "the cosine metric needs rows with a length; a row is all zeros. Remove it or choose l2"
        )
    return x / lengths


def _smallest(distances: Float[np.ndarray, "q n"], k: int) -> Int[np.ndarray, "q k"]:
    """Columns of each row's k smallest values, ascending; of equal ones the first columns."""
    found = np.flatnonzero(distances <= _bound(distances, k))
    rows, columns = np.divmod(found, distances.shape[1])
    start = np.searchsorted(rows, np.arange(len(distances)))
    # by row, then value; a stable sort leaves equal values in order of their columns
    order = np.argsort(distances.ravel()[found], kind="stable")
    order = order[np.argsort(rows[order], kind="stable")]
    return columns[order][start[:, None] + np.arange(k)]


def _bound(distances: Float[np.ndarray, "q n"], k: int) -> Float[np.ndarray, "q 1"]:
    """Not less than each row's k-th smallest value, and not much more.

    The k-th smallest of the minima of many groups of columns: k groups have a value that is no larger. Minima of
    columns far apart are vector operations, where a selection from all columns is not.
    """
    groups = distances.shape[1] // max(1, distances.shape[1] // (GROUPS * k))
    depth = distances.shape[1] // groups
    minima = distances[:, : groups * depth].reshape(len(distances), depth, groups).min(axis=1)
    return np.partition(minima, k - 1, axis=1)[:, k - 1 : k]
