"""What the rest of the package knows of a trunk, and the contract that every trunk keeps.

A backbone's module takes (pixels (B, H, W, 3), sizes (B, 2), statistics) and returns its last map (B, h, w, C) after
the activation, zero outside the pictures, and the map's sizes (B, 2).

The contract of maps on canvases, which `tests/models/test_backbones.py` holds every record of `BACKBONES` to:
- Each picture lies in the bottom-right corner of its slot, the lines that `reads` says; what stands outside of it, in
  pixels or in a map, is arbitrary, and no layer lets it in: whoever reads neighbours (depthwise and other convolutions,
  pools, batch moments) masks its own input by the sizes; pointwise operations need not.
- A canvas has sides that the network reads to the last line (`reads` changes none; NASNet's are odd). Strided
  layers then sample a picture's lines at the same distances from the bottom-right corner on every canvas.
- A picture gives the same map in a batch of any sizes as alone on a canvas of its own size, and so do gradients.
- Layers of stride 2 centre their windows, counted from the bottom-right corner, on positions that no picture's size
  changes; where a published network samples from the top-left, its layer chooses for each picture.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float, UInt8

from mtp.models.model import PictureSizes, Variables, every_line, no_published_weights
from mtp.ops.canvas import Sizes

Pixels = Float[Array, "B H W 3"]
# a trunk's maps from the first to the last, and their sizes
Levels = Sequence[tuple[Float[Array, "B _ _ _"], Sizes]]


def from_scratch(weights: str) -> dict[str, Any]:
    """What a table says of a network without published weights."""
    return {"weights": "from scratch"}


@dataclasses.dataclass(frozen=True)
class Backbone:
    """module: (dtype=, remat=, name=) -> the Flax module; remat: it computes its layers again in the backward pass.

    channels: C of the last map. stride: pixels of a picture's side to a cell of the last map.
    min_side: pixels; a shorter side leaves no cell. pixels: uint8 canvases to what the module takes, zero outside the
    pictures. reads: sizes (N, 2) -> the lines of each picture that it reads.
    levels: whether the module has a method `levels`, of its own arguments, which returns the maps of its resolutions or
    stages with their sizes, the last map last.
    load: (variables of one trunk, model.weights) -> variables with the weights in their place.
    origin: model.weights -> what a table says of them.
    """

    module: Callable[..., nn.Module]
    channels: int
    stride: int
    min_side: int
    pixels: Callable[[UInt8[Array, "B H W 3"], Sizes], Pixels]
    reads: Callable[[PictureSizes], PictureSizes] = every_line
    levels: bool = False
    load: Callable[[Variables, str], Variables] = no_published_weights
    origin: Callable[[str], dict[str, Any]] = from_scratch
