"""Shapes: training buckets by aspect ratio, evaluation sizes, and the canvases that pictures share."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array

from mtp.data.schema import DataError

Shape = tuple[int, int]  # height, width
MIN_SIDE = 32  # pixels
MAX_DISTINCT = 100  # sizes in the integer program; more are thinned on a grid first


def trimmed(sizes: np.ndarray) -> np.ndarray:
    """Sizes without an even side's last line, which the stem never reads: every side odd."""
    return sizes - (sizes % 2 == 0)


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
    """Height and width at which a picture is evaluated (eval.size), the aspect ratio kept.

    "native": its own; "trained": the training sizes' mean area; "long=L": longer side L. No side falls under
    32. Errors: DataError above max_pixels unless too_large is "shrink"; ValueError on an unknown rule.
    """
    height, width = size
    if rule == "native":
        scale = 1.0
    elif rule == "trained":
        scale = (np.mean([h * w for h, w in training_sizes]) / (height * width)) ** 0.5
    elif rule.startswith("long=") and rule[5:].isdigit() and int(rule[5:]) >= MIN_SIDE:
        scale = int(rule[5:]) / max(size)
    else:
        raise ValueError(
            f"eval.size must be native, trained or long=L with L >= {MIN_SIDE} pixels, not {rule!r}"
        )
    scale = max(scale, MIN_SIDE / min(size))
    pixels = height * width * scale**2
    if pixels > max_pixels:
        if too_large != "shrink":
            raise DataError(
                f"a picture of {width}x{height} is to be evaluated at {pixels:.0f} pixels, more than "
                f"eval.max_pixels = {max_pixels}; raise the limit, or set eval.too_large=shrink"
            )
        scale *= (max_pixels / pixels) ** 0.5
    return max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale))


def choose_canvases(sizes: np.ndarray, count: int) -> list[Shape]:
    """At most `count` odd canvas shapes that hold all pictures (N, 2) with the fewest padded pixels.

    An exact optimum by integer programming: candidates are the bounding boxes of pairs of distinct sizes; each
    size goes to one chosen box that covers it. Above 100 distinct sizes they are first rounded up on a grid.
    """
    distinct, pictures = np.unique(_thinned(trimmed(np.asarray(sizes))), axis=0, return_counts=True)
    boxes = np.unique(np.maximum(distinct[:, None], distinct[None]).reshape(-1, 2), axis=0)
    if len(distinct) <= count:
        return [(int(h), int(w)) for h, w in distinct]
    covers = (boxes[None] >= distinct[:, None]).all(axis=2)
    which_size, which_box = np.nonzero(covers)
    area = boxes.prod(axis=1)
    cost = np.concatenate([np.zeros(len(boxes)), pictures[which_size] * area[which_box]])
    result = milp(
        cost,
        constraints=_constraints(which_size, which_box, len(distinct), len(boxes), count),
        # boxes are taken or not; given the boxes, whole assignments are optimal by themselves
        integrality=np.concatenate([np.ones(len(boxes)), np.zeros(len(which_box))]),
        bounds=(0, 1),
    )
    if not result.success:
        raise RuntimeError(f"choosing canvases failed: {result.message}")
    taken = boxes[result.x[: len(boxes)] > 0.5]
    return [(int(h), int(w)) for h, w in taken]


def _constraints(
    which_size: np.ndarray, which_box: np.ndarray, sizes: int, boxes: int, count: int
) -> list[LinearConstraint]:
    """Each size in one box; only in a chosen one; at most `count` chosen."""
    pairs = np.arange(len(which_box))
    total = boxes + len(pairs)
    ones = np.ones(len(pairs))
    once = csr_array((ones, (which_size, boxes + pairs)), (sizes, total))
    rows = np.concatenate([pairs, pairs])
    columns = np.concatenate([boxes + pairs, which_box])
    chosen = csr_array((np.concatenate([ones, -ones]), (rows, columns)), (len(pairs), total))
    few = csr_array((np.ones(boxes), (np.zeros(boxes, int), np.arange(boxes))), (1, total))
    return [
        LinearConstraint(once, 1, 1),
        LinearConstraint(chosen, -np.inf, 0),
        LinearConstraint(few, 0, count),
    ]


def _thinned(sizes: np.ndarray) -> np.ndarray:
    """Sizes rounded up to odd numbers on the finest grid that leaves at most 100 distinct ones."""
    grid, rounded = 2, sizes
    while len(np.unique(rounded, axis=0)) > MAX_DISTINCT:
        grid *= 2
        # never above the largest side that exists
        rounded = np.minimum(-(-(sizes + 1) // grid) * grid - 1, sizes.max(axis=0))
    return rounded


def assign(sizes: np.ndarray, canvases: Sequence[Shape]) -> np.ndarray:
    """(N,) index of the smallest canvas that covers each picture."""
    boxes = np.array(canvases)
    covers = (boxes[None] >= trimmed(np.asarray(sizes))[:, None]).all(axis=2)
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
    canvas = np.zeros((slots, *shape, 3), np.uint8)
    sizes = np.zeros((slots, 2), np.int32)
    for slot, picture in enumerate(pictures):
        height, width = trimmed(np.array(picture.shape[:2]))
        canvas[slot, shape[0] - height :, shape[1] - width :] = picture[:height, :width]
        sizes[slot] = height, width
    return canvas, sizes
