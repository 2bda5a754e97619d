"""Shapes: training buckets by aspect ratio, evaluation sizes, and the canvases that pictures share."""

import math
from collections.abc import Sequence

import numpy as np

from mtp.config import ConfigError
from mtp.data.batches.covering import cheapest_columns
from mtp.data.schema import MIN_SIDE, DataError

Shape = tuple[int, int]  # height, width
MAX_DISTINCT = 100  # sizes in the integer program; more are merged on a grid first
_MERGED = 50  # cells of that grid; 100 of them save 0.1 % of the padding and take 80 times longer


def trimmed(sizes: np.ndarray) -> np.ndarray:
    """Sizes without an even side's last line, which the stem never reads: every side odd."""
    return sizes - (sizes % 2 == 0)


def enlarged(sizes: np.ndarray) -> np.ndarray:
    """Sizes (N, 2) scaled up isotropically until no side is under 32."""
    scale = np.maximum(MIN_SIDE / np.min(sizes, axis=1, keepdims=True), 1.0)
    return np.rint(sizes * scale).astype(np.int32)


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


def evaluation_size(
    size: Shape, rule: str, training_sizes: Sequence[Shape], max_pixels: int, too_large: str
) -> Shape:
    """Height and width at which a picture is evaluated: `ruled_size`, shrunk to max_pixels where that is less.

    Errors: DataError above max_pixels unless too_large is "shrink"; ConfigError on an unknown rule.
    """
    if too_large not in ("error", "shrink"):
        raise ConfigError(f"eval.too_large must be error or shrink, not {too_large!r}")
    height, width = size
    chosen = ruled_size(size, rule, training_sizes)
    if chosen[0] * chosen[1] <= max_pixels:
        return chosen
    scale = (max_pixels / (height * width)) ** 0.5
    shrunk = int(height * scale), int(width * scale)
    if too_large == "error" or min(shrunk) < MIN_SIDE:
        raise DataError(
            f"a picture of {width}x{height} is to be evaluated at {chosen[1]}x{chosen[0]}, more than "
            f"eval.max_pixels = {max_pixels}, and would shrink to {shrunk[1]}x{shrunk[0]} (no side may be under "
            f"{MIN_SIDE}); raise the limit, set eval.too_large=shrink, or leave the picture out"
        )
    return shrunk


def ruled_size(size: Shape, rule: str, training_sizes: Sequence[Shape]) -> Shape:
    """Height and width that eval.size wants of a picture, the aspect ratio kept.

    "native": its own; "trained": the training sizes' mean area; "long=L": longer side L. No side falls under
    32. Errors: ConfigError on an unknown rule.
    """
    height, width = size
    if rule == "native":
        scale = 1.0
    elif rule == "trained":
        scale = (np.mean([h * w for h, w in training_sizes]) / (height * width)) ** 0.5
    elif rule.startswith("long=") and rule[5:].isdigit() and int(rule[5:]) >= MIN_SIDE:
        scale = int(rule[5:]) / max(size)
    else:
        raise ConfigError(
            f"eval.size must be native, trained or long=L with L >= {MIN_SIDE} pixels, not {rule!r}"
        )
    scale = max(scale, MIN_SIDE / min(size))
    return max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale))


def choose_canvases(sizes: np.ndarray, count: int) -> list[Shape]:
    """At most `count` odd canvas shapes that hold all pictures (N, 2) with the fewest padded pixels.

    An exact optimum over the bounding boxes of pairs of distinct sizes, among which every best shape is. Above
    100 distinct sizes they are first merged on a grid, each cell standing as the bounding box of its sizes.
    Errors: DataError where there are no pictures.
    """
    sizes = trimmed(np.asarray(sizes))
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
    covers = np.all(boxes[None] >= trimmed(np.asarray(sizes))[:, None], axis=2)
    if not covers.any(axis=1).all():
        lost = sizes[np.flatnonzero(~covers.any(axis=1))[0]]
        raise ValueError(f"every picture must fit a canvas of {list(canvases)}; {tuple(lost)} does not")
    return np.where(covers, boxes.prod(axis=1), np.iinfo(np.int64).max).argmin(axis=1)


def padding(sizes: np.ndarray, canvases: Sequence[Shape]) -> float:
    """Share of canvas pixels that hold no picture; empty slots of last batches not counted."""
    used = np.array(canvases)[assign(sizes, canvases)].prod(axis=1).sum()
    return float(1 - trimmed(np.asarray(sizes)).prod(axis=1).sum() / used)


def place(pictures: Sequence[np.ndarray], shape: Shape, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures in the bottom-right corners of a canvas batch (slots, H, W, 3), and their sizes (slots, 2).

    Even sides lose their last line; slots without a picture have size (0, 0).
    """
    canvas = _aligned_zeros((slots, *shape, 3))
    sizes = np.zeros((slots, 2), np.int32)
    for slot, picture in enumerate(pictures):
        height, width = trimmed(np.array(picture.shape[:2]))
        canvas[slot, shape[0] - height :, shape[1] - width :] = picture[:height, :width]
        sizes[slot] = height, width
    return canvas, sizes


def _aligned_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Bytes from an address on that is a multiple of 64, which jax takes over on CPUs without a copy.

    Other arrays it copies in a thread of its own, which then runs the program as well, on memory of its own.
    """
    size = math.prod(shape)
    room = np.zeros(size + 63, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].reshape(shape)
