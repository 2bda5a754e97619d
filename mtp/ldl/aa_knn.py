"""AA-kNN: the mean of the k nearest training pictures' distributions (Geng 2016, section 3.2). Exact.

A distance is a sum of squared differences in float64, of the features as they are given ("l2"; exact for whole
numbers) or of rows of length 1 ("cosine"; proportional rows are equal). Equally near rows: the one that stands first in
the training data is taken. Few distances are needed: float32 products c_j of t_j = |b_j|^2 - 2 a b_j, on centred
features, come first. With r_j = |a - b_j| and |b_j| <= |a| + r_j, in any order of summation (Higham 2002, section 3.1),

    |c_j - t_j| <= g (2 |a| |b_j| + |b_j|^2) <= g (5 |a|^2 + 3 r_j^2),    r_j^2 = t_j + |a|^2.

A row whose c exceeds the k-th smallest by more than twice this error is further away than k others (`_limit`). Where
k rows are left they are the neighbours; where more are, their distances decide.
"""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.sparse import csr_matrix

from mtp.ldl import checks
from mtp.ldl.params import NO_SOLVER, LdlError, Params, fitted

NAME = "aa_knn"
METRICS = ("l2", "cosine")
TILE = 2**19  # products at once, a thread: they stay in the cache
LEAST = 64  # queries at once all the same: fewer waste the matrix product
PAIRS = 2**13  # differences of rows at once
DOUBTFUL = 1 / 32  # of the rows; more distances than that cost more than products in float64
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
    rows = _placed(data.x, metric)
    arrays = {"x": rows, "d": data.d, "weight": data.weight, "centre": centre}
    return fitted(NAME, arrays, {"features": rows.shape[1], "k": k, "metric": metric}, NO_SOLVER)


def predict(params: Params, x: np.ndarray, *, skip_self: bool = False) -> Float[np.ndarray, "q K"]:
    """(q, d) to rows on the simplex. skip_self: x are the training rows, none is a neighbour of itself."""
    a, k = params.arrays, params.options["k"]
    near = _nearest(a["x"], _queries(params, x, k + skip_self), a["centre"], k + skip_self)
    near = _others(near) if skip_self else near
    ends = np.arange(0, near.size + 1, k)
    chosen = csr_matrix((np.ones(near.size), near.ravel(), ends), (len(near), len(a["x"])))
    sums = chosen @ np.column_stack([a["weight"][:, None] * a["d"], a["weight"]])
    total = sums[:, -1:]
    if not (total > 0).all():
        raise LdlError(
            "all neighbours of a row weigh nothing; raise k or give the training rows positive weights"
        )
    return sums[:, :-1] / total


def neighbours(params: Params, x: np.ndarray, k: int, *, skip_self: bool = False) -> Int[np.ndarray, "q _"]:
    """Training rows nearest to each row of x, nearest first: k of them, less its own where `skip_self`."""
    rows, queries = params.arrays["x"], _queries(params, x, k)
    near = _nearest(rows, queries, params.arrays["centre"], k)
    distances = _distances(queries, rows, np.repeat(np.arange(len(near)), k), near.ravel())
    # a stable sort leaves equally near rows in their own order
    order = np.argsort(distances.reshape(near.shape), axis=1, kind="stable")
    near = np.take_along_axis(near, order, axis=1)
    return _others(near) if skip_self else near


def _queries(params: Params, x: np.ndarray, k: int) -> Float[np.ndarray, "q d"]:
    n = len(params.arrays["x"])
    x = _placed(checks.queries(params, x, NAME), params.options["metric"])
    if not 1 <= k <= n:
        raise LdlError(f"k must lie in 1..{n} (one less without a row's own); it is {k}")
    return x


def _placed(x: np.ndarray, metric: str) -> Float[np.ndarray, "n d"]:
    """Rows whose Euclidean order is the metric's."""
    if metric == "l2":
        return x
    largest = np.abs(x).max(axis=1, keepdims=True)
    if not (largest > 0).all():
        raise LdlError(
            "the cosine metric needs rows with a length; a row is all zeros. Remove it or choose l2"
        )
    # proportional rows are now equal to the last digit, and no square overflows
    x = x / largest
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _others(near: Int[np.ndarray, "n k"]) -> Int[np.ndarray, "n _"]:
    """Neighbours other than the row itself."""
    own = near == np.arange(len(near))[:, None]
    # among k duplicates a row may not be its own neighbour at all
    own[~own.any(axis=1), -1] = True
    return near[~own].reshape(len(near), near.shape[1] - 1)


def _nearest(
    rows: Float[np.ndarray, "n d"], queries: Float[np.ndarray, "q d"], centre: Float[np.ndarray, " d"], k: int
) -> Int[np.ndarray, "q k"]:
    """The k rows nearest to each query, in the order of the rows."""
    factors = _factors(rows - centre, queries - centre, k)
    size = max(LEAST, TILE // factors.right.shape[1])
    single = factors.right.astype(np.float32)

    def search(part: np.ndarray) -> list[np.ndarray]:
        # fresh pages would cost as much as the product
        space = np.empty((size, single.shape[1]), np.float32)
        tiles = [part[at : at + size] for at in range(0, len(part), size)]
        return [nearest(tile, space[: len(tile)]) for tile in tiles]

    def nearest(tile: np.ndarray, space: np.ndarray) -> np.ndarray:
        left = factors.left[tile]
        found = _candidates(np.matmul(left.astype(np.float32), single, out=space), factors, tile, k)
        if _doubtful(found, k) > DOUBTFUL * len(rows) * len(tile):
            found = _candidates(left @ factors.right, factors, tile, k)
        return _decided(found, queries[tile], rows, k)

    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(search, np.array_split(np.arange(len(queries)), THREADS))
        return np.concatenate([np.empty((0, k), np.int64), *itertools.chain.from_iterable(found)])


class _Factors(NamedTuple):
    """left @ right is (|b|^2 - 2 ab) / s, s >= 1 of each query; squares are |a|^2 / s, n rows b in groups of columns.

    Columns j, j + groups, j + 2 groups, ... are a group; those from n on only fill the last ones.
    """

    left: Float[np.ndarray, "q d1"]
    right: Float[np.ndarray, "d1 columns"]
    squares: Float[np.ndarray, " q"]
    n: int
    groups: int


def _factors(rows: Float[np.ndarray, "n d"], queries: Float[np.ndarray, "q d"], k: int) -> _Factors:
    """In units in which no product leaves float32's range; these are powers of two, which change no digit."""
    n, d = rows.shape
    # a few sqrt(n k) groups: the search among minima then costs as much as that in the groups
    depth = max(1, int(0.75 * math.sqrt(n / k)))
    groups = -(-n // depth)
    unit = np.exp2(-np.frexp(max(rows.max(), -rows.min()))[1])
    right = np.zeros((d + 1, depth * groups))
    np.multiply(rows.T, unit, out=right[:d, :n])
    np.einsum("dn,dn->n", right[:d], right[:d], out=right[d])
    a = queries * unit
    norms = np.linalg.norm(a, axis=1)
    lengths = np.exp2(np.maximum(np.frexp(norms)[1], 0))
    left = np.column_stack([a * (-2 / lengths[:, None]), 1 / lengths])
    return _Factors(left, right, norms * (norms / lengths), n, groups)


class _Candidates(NamedTuple):
    """Of each query at least k columns, the neighbours among them; kept marks them, the rest is filling."""

    columns: Int[np.ndarray, "q m"]
    kept: Bool[np.ndarray, "q m"]


def _candidates(
    products: Float[np.ndarray, "q columns"], factors: _Factors, tile: Int[np.ndarray, " q"], k: int
) -> _Candidates:
    squares, d = factors.squares[tile], len(factors.right) - 1
    products[:, factors.n :] = np.inf
    layers = products.reshape(len(products), -1, factors.groups)
    minima = layers.min(axis=1)
    # k groups have a value that is no larger: the k-th smallest minimum bounds the k-th smallest value
    limit = _limit(minima, squares, d, k)
    found = np.flatnonzero(minima <= limit)
    query = found // factors.groups
    group = found - query * factors.groups
    near = layers[query, :, group]
    found = np.flatnonzero(near <= limit[query])
    pair = found // near.shape[1]
    column = (found - pair * near.shape[1]) * factors.groups + group[pair]
    counts = np.bincount(query[pair], minlength=len(products))
    filled = np.arange(counts.max()) < counts[:, None]
    columns, values = np.zeros(filled.shape, np.int64), np.full(filled.shape, np.inf, products.dtype)
    columns[filled], values[filled] = column, near.ravel()[found]
    return _Candidates(columns, values <= _limit(values, squares, d, k))


def _limit(values: Float[np.ndarray, "q m"], squares: Float[np.ndarray, " q"], d: int, k: int) -> np.ndarray:
    """(q, 1): products beyond it belong to rows further away than those of the k smallest values.

    With c the k-th smallest, k rows have r^2 <= c + |a|^2 + g (5 |a|^2 + 3 r^2), and a nearer row's product is no
    larger than r^2 - |a|^2 + g (5 |a|^2 + 3 r^2): c and little more than 2 g (5 |a|^2 + 3 (c + |a|^2)) for small g.
    g: d + 1 terms, the rounding of both factors and of |b|^2, whose own sum is in float64; and centring, whose error of
    half an eps in each component changes r^2 by at most eps (|a|^2 + 2 r^2).
    """
    kth = np.partition(values, k - 1, axis=1)[:, k - 1].astype(np.float64)
    kind, double = np.finfo(values.dtype), np.finfo(np.float64)
    g = (d + 5) * kind.eps / 2 + (d + 2) * double.eps / 2
    error = 1.05 * g * (5 * squares + 3 * (kth + squares)) + (d + 5) * kind.tiny
    limit = (kth + 2 * error).astype(values.dtype)
    return np.nextafter(limit, np.inf, dtype=values.dtype)[:, None]


def _doubtful(found: _Candidates, k: int) -> int:
    """How many distances must decide."""
    counts = found.kept.sum(axis=1)
    return int(counts[counts > k].sum())


def _decided(
    found: _Candidates, queries: Float[np.ndarray, "q d"], rows: Float[np.ndarray, "n d"], k: int
) -> Int[np.ndarray, "q k"]:
    """The nearest k candidates, in the order of the rows."""
    columns, kept = found
    several = np.flatnonzero(kept.sum(axis=1) > k)
    place, slot = np.nonzero(kept[several])
    query = several[place]
    column = columns[query, slot]
    distances = _distances(queries, rows, query, column)
    order = np.lexsort((column, distances, query))
    rank = np.arange(len(order)) - np.searchsorted(query, several)[place]
    last = order[rank >= k]
    kept[query[last], slot[last]] = False
    return np.sort(columns[kept].reshape(len(columns), k), axis=1)


def _distances(
    queries: Float[np.ndarray, "q d"],
    rows: Float[np.ndarray, "n d"],
    query: Int[np.ndarray, " m"],
    row: Int[np.ndarray, " m"],
) -> Float[np.ndarray, " m"]:
    """Squared, between pairs of a query and a row; equal rows have equal ones to the last digit."""
    found = np.empty(len(query))
    for at in range(0, len(query), PAIRS):
        part = slice(at, at + PAIRS)
        apart = queries[query[part]] - rows[row[part]]
        np.einsum("md,md->m", apart, apart, out=found[part])
    return found
