"""The size at which a picture is looked at, and how it gets there: the rules of eval.size and input.size."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from mtp.config import ConfigError
from mtp.data import images
from mtp.data.schema import DataError

Shape = tuple[int, int]  # height, width
Picture = np.ndarray  # uint8 (H, W, 3)
# (picture, height, width, where) -> the picture at that size; where: position in 0..1 of a window that is smaller than
# the picture, down and across, .5 being the middle
Fit = Callable[[Picture, int, int, tuple[float, float]], Picture]
MIDDLE = (0.5, 0.5)
SQUARE, ISOTROPIC = ("warp", "crop", "pad"), ("native", "trained", "long", "area")


def warp(picture: Picture, height: int, width: int, where: tuple[float, float] = MIDDLE) -> Picture:
    """Resized, whatever becomes of its aspect ratio."""
    return images.resize(picture, height, width)


def crop(picture: Picture, height: int, width: int, where: tuple[float, float] = MIDDLE) -> Picture:
    """A window of the picture as it is; one that is too small for it is enlarged first, isotropically."""
    picture = at_least(picture, height, width)
    top, left = (
        round(share * (side - wanted))
        for share, side, wanted in zip(where, picture.shape[:2], (height, width), strict=True)
    )
    return picture[top : top + height, left : left + width]


def at_least(picture: Picture, height: int, width: int) -> Picture:
    """The picture as it is; one that is too small is enlarged, isotropically."""
    scale = max(1.0, height / picture.shape[0], width / picture.shape[1])
    if scale == 1:
        return picture
    sides = zip((height, width), picture.shape[:2], strict=True)
    return images.resize(picture, *(max(wanted, round(side * scale)) for wanted, side in sides))


def pad(picture: Picture, height: int, width: int, where: tuple[float, float] = MIDDLE) -> Picture:
    """Resized isotropically to the largest size that fits, in the middle of black."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    inside = [
        min(wanted, max(1, round(side * scale)))
        for wanted, side in zip((height, width), picture.shape[:2], strict=True)
    ]
    page = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inside[0]) // 2, (width - inside[1]) // 2
    page[top : top + inside[0], left : left + inside[1]] = images.resize(picture, *inside)
    return page


FITS: dict[str, Fit] = {"warp": warp, "crop": crop, "pad": pad}


@dataclasses.dataclass(frozen=True)
class SizeRule:
    """A rule by its name and number.

    "native": a picture's own size; "trained": the mean area of the training sizes; "area=A": A pixels; "long=L": longer
    side L. These keep the aspect ratio, and no side falls under `min_side`. "warp=S", "crop=S" and "pad=S": a square of
    side S, as the functions of these names do it; "warp=native": warped to a square of the picture's own area.
    """

    name: str
    number: float
    min_side: int

    @classmethod
    def parse(cls, text: str, training_sizes: Sequence[Shape], min_side: int) -> "SizeRule":
        """Errors: ConfigError on text that names no rule."""
        name, _, number = text.partition("=")
        if text == "warp=native":
            return cls(name, 0.0, min_side)
        if text in ("native", "trained"):
            area = np.mean([h * w for h, w in training_sizes]) if text == "trained" else 0
            return cls(name, float(area), min_side)
        if name not in ("long", "area", *SQUARE) or not number.isdigit() or int(number) < min_side:
            raise ConfigError(
                f"a size rule must be native, trained, long=L, area=A, warp=S, crop=S or pad=S with a number of at "
                f"least {min_side}, or warp=native, not {text!r}"
            )
        return cls(name, float(number), min_side)

    @property
    def fit(self) -> Fit:
        """How a picture gets its size."""
        return FITS.get(self.name, warp)

    def of(self, size: Shape) -> Shape:
        """Height and width of a picture of this size under the rule."""
        height, width = size
        match self.name:
            case "native":
                scale = 1.0
            case "trained" | "area":
                scale = (self.number / (height * width)) ** 0.5
            case "long":
                scale = self.number / max(size)
            case _:
                side = int(self.number) or max(self.min_side, round((height * width) ** 0.5))
                return side, side
        scale = max(scale, self.min_side / min(size))
        return max(self.min_side, round(height * scale)), max(self.min_side, round(width * scale))

    def within(self, size: Shape, max_pixels: int, too_large: str) -> Shape:
        """As `of`, shrunk to max_pixels where that is less.

        Errors: DataError above max_pixels unless too_large is "shrink" and the aspect ratio can be kept.
        """
        height, width = size
        chosen = self.of(size)
        if chosen[0] * chosen[1] <= max_pixels:
            return chosen
        scale = (max_pixels / (height * width)) ** 0.5
        shrunk = int(height * scale), int(width * scale)
        if too_large == "error" or min(shrunk) < self.min_side or self.name in SQUARE:
            raise DataError(
                f"a picture of {width}x{height} is to be evaluated at {chosen[1]}x{chosen[0]}, more than "
                f"eval.max_pixels = {max_pixels}, and would shrink to {shrunk[1]}x{shrunk[0]} (no side may be under "
                f"{self.min_side}); raise the limit, set eval.too_large=shrink, or leave the picture out"
            )
        return shrunk
