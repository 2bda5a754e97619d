"""What the baselines' views have in common: squares, and the random windows of training."""

import numpy as np

from mtp.config import ConfigError
from mtp.config.rules import SQUARES
from mtp.data.batches.sizes import MIDDLE, Picture, Shape, crop
from mtp.data.batches.views import Canvas, Draw, Spec

LARGER = 8 / 7  # 256 pixels for a window of 224
SIZES = Spec((2,), np.dtype(np.int32))


def pixels(*shape: int) -> Spec:
    """Of arrays (..., H, W, 3) of uint8."""
    return Spec((*shape, 3), np.dtype(np.uint8))


def fitted(canvas: Canvas, picture: Picture, size: Shape, draw: Draw | None) -> Picture:
    """A picture (H, W, 3) at a size, as `canvas.fit` brings it there.

    In training it is fitted to 8/7 of the size, and a window of the size lies anywhere in the result (Lu et al. 2014;
    Talebi and Milanfar 2018).
    """
    if draw is None:
        return canvas.fit(picture, *size, MIDDLE)
    where = anywhere(draw, "window")
    height, width = (round(side * LARGER) for side in size)
    return crop(canvas.fit(picture, height, width, where), *size, where)


def anywhere(draw: Draw, purpose: str) -> tuple[float, float]:
    """A position of a window in 0..1, down and across."""
    down, across = draw.generator(purpose).random(2)
    return float(down), float(across)


def stacked(canvas: Canvas, sizes: np.ndarray, count: int) -> np.ndarray:
    """What `count` squares take up of a canvas (N, 2): as much as if they stood one below the other.

    Batches of evaluation then hold as many pictures as eval.batch_pixels means.
    """
    return canvas.occupied(sizes) * (count, 1)


def side_of(shape: Shape) -> int:
    """Of the squares that stand one below the other; a turned batch has them side by side."""
    return min(shape)


def check_rule(canvas: Canvas, network: str) -> None:
    """Errors: ConfigError where pictures are to be looked at under a size rule that is not of the network's squares."""
    if not canvas.training and canvas.rule.name not in SQUARES[network]:
        rules = " or ".join(f"{name}=S" for name in SQUARES[network])
        raise ConfigError(
            f"model.name={network} looks at squares of side S: its size rule (eval.size) must be {rules}, not "
            f"{canvas.rule.name}"
        )
