"""The paper's Figure 1: what fixed-size inputs do to a photograph.  python -m experiments.fig1 PICTURE --out=DIR

The picture at its own size, and the squares that Table 3's networks see: a crop of its middle, a warp, a pad; all drawn
at one scale. Writes fig1.png and fig1.svg, and prints how many of the picture's pixels each one keeps.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mtp.config import OPTIONS
from mtp.data import images
from mtp.data.batches.sizes import FITS, MIDDLE
from mtp.data.errors import ImageError
from mtp.report import plots
from mtp.workdirs import UsageError

SIDE = 224  # section 4.4
SIDES = (32, 4096)  # pixels, the smallest and the largest that can be drawn


def treatments(picture: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """The picture (H, W, 3) as it is, and each square (side, side, 3), by what was done to it."""
    squares = {name: FITS[name](picture, side, side, MIDDLE) for name in ("crop", "warp", "pad")}
    return {"original": picture, **squares}


def described(shown: Mapping[str, np.ndarray], side: int) -> list[str]:
    """A line each: its size, the factor between its two scales, and its share of the original's pixels."""
    height, width = shown["original"].shape[:2]
    inside = min(1.0, side / max(height, width)) ** 2
    share = {
        "original": 1.0,
        "crop": min(height, side) * min(width, side) / (height * width),
        "warp": min(1.0, side * side / (height * width)),
        "pad": inside,
    }
    stretched = {"warp": width / height}
    return [
        f"{name}: {each.shape[1]}x{each.shape[0]}, aspect ratio changed by a factor of {stretched.get(name, 1):.2f}, "
        f"{share[name]:.0%} of the pixels"
        for name, each in shown.items()
    ]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.fig1", allow_abbrev=False)
    parser.add_argument("picture", type=Path, help="a photograph")
    parser.add_argument("--out", type=Path, required=True, help="folder of fig1.png and fig1.svg")
    parser.add_argument("--side", type=int, default=SIDE, help="of the squares, pixels")
    given = parser.parse_args(arguments)
    if not SIDES[0] <= given.side <= SIDES[1]:
        raise UsageError(f"--side must be between {SIDES[0]} and {SIDES[1]} pixels; it is {given.side}")
    limit = OPTIONS["data.max_decode_pixels"].default
    picture = images.decode(given.picture.read_bytes(), str(given.picture), limit)
    shown = treatments(picture, given.side)
    titles = {f"{name}\n{each.shape[1]}x{each.shape[0]}": each for name, each in shown.items()}
    written = plots.save(plots.side_by_side(titles), given.out, "fig1")
    print("\n".join(described(shown, given.side)))
    print("wrote " + ", ".join(map(str, written)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ImageError, UsageError, OSError, plots.PlotError) as error:
        sys.exit(f"error: {error}")
