"""The cheapest k columns of a cost matrix (the k-median problem), exactly."""

import numpy as np

_ROUNDS = 800  # of the subgradient ascent; the bound of 100 sizes is flat well before
_SLACK = 1e-9  # relative; rounding must never rule out the optimum


def cheapest_columns(cost: np.ndarray, k: int) -> np.ndarray:
    """At most k columns S of cost (N, M) with the least sum_i min(cost[i, S]): ascending indices.

    inf marks a column that cannot serve a row; at least one column must serve every row. Exact: an integer
    programme, made small by dropping what a Lagrangian bound (Cornuejols, Fisher & Nemhauser 1977) shows to
    cost more than a solution found by swapping.
    """
    columns = cost.shape[1]
    if not np.isfinite(cost).all(axis=0).any():
        raise ValueError(
            "one column of the cost matrix must be finite in every row, so that a solution exists"
        )
    if k < 1:
        raise ValueError(f"at least one column must be chosen, not {k}")
    if columns <= k:
        return np.arange(columns)
    cost = cost / cost.min(axis=1).sum()
    best = _swapped(cost, k, _greedy(cost, k))
    prices, best = _prices(cost, k, best)
    upper = cost[:, best].min(axis=1).sum()
    saving = np.minimum(cost - prices[:, None], 0).sum(axis=0)
    ranked = np.sort(saving)
    lower = prices.sum() + ranked[:k].sum()
    with_column = lower + np.maximum(saving - ranked[k - 1], 0)
    useful = with_column + np.maximum(cost - prices[:, None], 0) <= upper * (1 + _SLACK)
    kept = np.flatnonzero(useful.any(axis=0))
    return kept[_integer_programme(np.where(useful, cost, np.inf)[:, kept], k)]


def _greedy(cost: np.ndarray, k: int) -> np.ndarray:
    """k columns, each the best addition to those before it."""
    chosen: list[int] = []
    current = np.full(len(cost), np.inf)
    for _ in range(k):
        chosen.append(int(np.minimum(current[:, None], cost).sum(axis=0).argmin()))
        current = np.minimum(current, cost[:, chosen[-1]])
    return np.array(chosen)


def _swapped(cost: np.ndarray, k: int, chosen: np.ndarray) -> np.ndarray:
    """`chosen` after exchanging single columns for as long as that lowers the cost."""
    chosen = chosen.copy()
    value = cost[:, chosen].min(axis=1).sum()
    while True:
        totals = np.empty((k, cost.shape[1]))
        for position in range(k):
            others = cost[:, np.delete(chosen, position)].min(axis=1, initial=np.inf)
            totals[position] = np.minimum(others[:, None], cost).sum(axis=0)
        position, column = np.unravel_index(totals.argmin(), totals.shape)
        if not totals[position, column] < value - 1e-12:
            return chosen
        chosen[position], value = column, totals[position, column]


def _prices(cost: np.ndarray, k: int, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row prices (N,) of a high Lagrangian bound, and the best columns met on the way."""
    upper = cost[:, best].min(axis=1).sum()
    prices = highest = cost.min(axis=1) * upper
    bound, step, stalled = -np.inf, 2.0, 0
    for turn in range(_ROUNDS):
        slack = np.minimum(cost - prices[:, None], 0)
        saving = slack.sum(axis=0)
        cheapest = np.argpartition(saving, k)[:k]
        value = prices.sum() + saving[cheapest].sum()
        if turn % 20 == 10:
            found = _swapped(cost, k, cheapest)
            total = cost[:, found].min(axis=1).sum()
            if total < upper:
                upper, best = total, found
        if value > bound + 1e-12:
            bound, highest, stalled = value, prices, 0
        else:
            stalled += 1
        if stalled > 20:
            step, stalled, prices = step / 2, 0, highest
            continue
        direction = 1 - (slack[:, cheapest] < 0).sum(axis=1)
        if not direction.any() or upper - bound < _SLACK:
            break
        prices = prices + step * (upper - value) / np.square(direction).sum() * direction
    return highest, best


def _integer_programme(cost: np.ndarray, k: int) -> np.ndarray:
    """The same problem by HiGHS: binary "column is open", then "row is served by column" in [0, 1]."""
    # not at the top: importing them takes most of a second, and a network is loaded before there are canvases to choose
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    row, column = np.nonzero(np.isfinite(cost))
    (rows, columns), pairs = cost.shape, len(row)
    pair, one = np.arange(pairs), np.ones(pairs)
    width = columns + pairs
    served = coo_array((one, (row, columns + pair)), shape=(rows, width))
    both = (np.r_[one, -one], (np.r_[pair, pair], np.r_[columns + pair, column]))
    only_open = coo_array(both, shape=(pairs, width))
    is_open = np.r_[np.ones(columns), np.zeros(pairs)]
    solution = milp(
        np.r_[np.zeros(columns), cost[row, column]],
        constraints=[
            LinearConstraint(served, 1, 1),
            LinearConstraint(only_open, -np.inf, 0),
            LinearConstraint(is_open[None], 0, k),
        ],
        integrality=is_open,
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    if solution.x is None:
        raise RuntimeError(
            f"the integer programme of {rows} rows and {columns} columns failed: {solution.message}"
        )
    return np.flatnonzero(solution.x[:columns] > 0.5)
