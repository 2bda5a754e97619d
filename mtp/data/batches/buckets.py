"""Shapes: training buckets by aspect ratio, and the canvases that pictures share."""

from collections.abc import Sequence

import numpy as np

from mtp.data.batches.covering import cheapest_columns
from mtp.data.batches.sizes import Shape
from mtp.data.schema import DataError

MAX_DISTINCT = 100  # sizes in the integer program; more are merged on a grid first
_MERGED = 50  # cells of that grid; 100 of them save 0.1 % of the padding and take 80 times longer


def nearest_bucket(sizes: np.ndarray, buckets: Sequence[Shape]) -> np.ndarray:
    """(N,) index of the bucket nearest in |log(aspect / bucket aspect)|; a tie goes to the squarer one."""
    aspects = np.log(sizes[:, 0] / sizes[:, 1])
    wanted = np.array([np.log(h / w) for h, w in buckets])
    distance = np.abs(aspects[:, None] - wanted).round(9)
    # lexicographic: distance first, then how far the bucket is from square
    order = np.lexsort((np.broadcast_to(np.abs(wanted), distance.shape), distance))
    return order[:, 0]


def distortion(sizes: np.ndarray, buckets: Sequence[Shape]) -> tuple[float, float]:
    """Median and 95th percentile of the aspect ratio's change by warping, as a factor of at least 1."""
    chosen = np.array(buckets)[nearest_bucket(sizes, buckets)]
    change = np.abs(np.log(sizes[:, 0] / sizes[:, 1]) - np.log(chosen[:, 0] / chosen[:, 1]))
    return float(np.exp(np.median(change))), float(np.exp(np.percentile(change, 95)))


def choose_canvases(sizes: np.ndarray, count: int) -> list[Shape]:
    """At most `count` canvas shapes that hold all pictures of these sizes (N, 2) with the fewest padded pixels.

    An exact optimum over the bounding boxes of pairs of distinct sizes, among which every best shape is. Above
    100 distinct sizes they are first merged on a grid, each cell standing as the bounding box of its sizes.
    Errors: DataError where there are no pictures.
    """
    if len(sizes) == 0:
        raise DataError("canvases are chosen for at least one picture, none came: is the split empty?")
    distinct, pictures = np.unique(sizes, axis=0, return_counts=True)
    boxes, pictures = _merged(distinct, pictures)
    if len(boxes) > count:
        first, second = np.triu_indices(len(boxes))
        shapes = np.unique(np.maximum(boxes[first], boxes[second]), axis=0)
        covers = np.all(boxes[:, None] <= shapes[None], axis=2)
        cost = np.where(covers, pictures[:, None] * shapes.prod(axis=1), np.inf)
        boxes = shapes[cheapest_columns(cost, count)]
    # merged sizes may sit in a smaller canvas than their cell: each canvas shrinks to what it holds
    where = assign(distinct, [(int(h), int(w)) for h, w in boxes])
    tight = [distinct[where == canvas].max(axis=0) for canvas in np.unique(where)]
    return [(int(h), int(w)) for h, w in tight]


def _merged(sizes: np.ndarray, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 100 boxes that cover the distinct sizes, and the number of pictures of each."""
    if len(sizes) <= MAX_DISTINCT:
        return sizes, pictures
    cell, grid = np.arange(len(sizes)), 2
    while cell.max() >= _MERGED:
        cell = np.unique(-(-sizes // grid), axis=0, return_inverse=True)[1].reshape(-1)
        grid += max(2, grid // 8)
    boxes = np.zeros((cell.max() + 1, 2), sizes.dtype)
    np.maximum.at(boxes, cell, sizes)
    boxes, same = np.unique(boxes, axis=0, return_inverse=True)
    return boxes, np.bincount(same.reshape(-1)[cell], weights=pictures)


def assign(sizes: np.ndarray, canvases: Sequence[Shape]) -> np.ndarray:
    """(N,) index of the smallest canvas that covers each picture."""
    boxes = np.array(canvases)
    covers = np.all(boxes[None] >= np.asarray(sizes)[:, None], axis=2)
    if not covers.any(axis=1).all():
        lost = sizes[np.flatnonzero(~covers.any(axis=1))[0]]
        raise ValueError(f"every picture must fit a canvas of {list(canvases)}; {tuple(lost)} does not")
    return np.where(covers, boxes.prod(axis=1), np.iinfo(np.int64).max).argmin(axis=1)


def padding(sizes: np.ndarray, canvases: Sequence[Shape]) -> float:
    """Share of canvas pixels that hold no picture; empty slots of last batches not counted."""
    used = np.array(canvases)[assign(sizes, canvases)].prod(axis=1).sum()
    return float(1 - np.asarray(sizes).prod(axis=1).sum() / used)
