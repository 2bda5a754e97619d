"""Views: how one decoded picture becomes the arrays of its slot in a batch, and which arrays these are."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from mtp.data.batches.sizes import MIDDLE, Fit, Shape, SizeRule, crop, warp
from mtp.data.batches.streams import stream

Arrays = dict[str, np.ndarray]
Reads = Callable[[np.ndarray], np.ndarray]  # sizes (N, 2) -> the lines of each picture that the network reads


class Spec(NamedTuple):
    """Shape and type of an array of one slot."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class Draw:
    """What chance decides for one slot of a training batch: a function of the seed, the step and the slot.

    flips: (2,) uniform in 0..1, for left to right and top to bottom; turns: counter-clockwise quarter turns, the same
    for the whole batch.
    """

    seed: int
    step: int
    slot: int
    flips: np.ndarray
    turns: int

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers of this slot for a named purpose."""
        return stream(self.seed, purpose, self.step, self.slot)


@runtime_checkable
class View(Protocol):
    """One kind of inputs that a network takes.

    A batch's inputs are arrays (B, ...) by name; all slots of a batch share a canvas of height x width. A view may give
    several arrays a picture, and need not use the canvas for pixels.
    """

    def sizes(self, own: np.ndarray) -> np.ndarray:
        """Height and width (N, 2) that pictures of these sizes get in their slots."""
        ...

    def occupied(self, sizes: np.ndarray) -> np.ndarray:
        """What pictures of these sizes take up of a canvas (N, 2)."""
        ...

    def spec(self, canvas: Shape) -> Mapping[str, Spec]:
        """The arrays of one slot of a batch with this canvas."""
        ...

    def write(self, slot: Arrays, picture: np.ndarray, size: Shape, draw: Draw | None) -> None:
        """Fill a slot, which is zero, with a picture (H, W, 3) that is to get this size; draw: None in evaluation."""
        ...


@dataclasses.dataclass(frozen=True)
class Canvas:
    """One picture in the bottom-right corner of its slot: "images" (H, W, 3) uint8 and its "sizes" (2,) int32.

    rule: the size that a picture gets where the plan of batches does not say it. fit: how it gets it. reads: lines that
    the network never reads are left out. Augmentation: mirrored where chance says so, and turned with its batch; a
    window of a crop lies anywhere in training, in the middle else. training: whether it fills batches of the training,
    for views around this one that then give other arrays.
    """

    rule: SizeRule
    reads: Reads
    fit: Fit = warp
    horizontal_flip: bool = False
    vertical_flip: bool = False
    training: bool = False

    def sizes(self, own: np.ndarray) -> np.ndarray:
        return np.array([self.rule.of((int(h), int(w))) for h, w in own], np.int32).reshape(-1, 2)

    def occupied(self, sizes: np.ndarray) -> np.ndarray:
        return self.reads(np.asarray(sizes))

    def spec(self, canvas: Shape) -> dict[str, Spec]:
        return {
            "images": Spec((*canvas, 3), np.dtype(np.uint8)),
            "sizes": Spec((2,), np.dtype(np.int32)),
        }

    def write(self, slot: Arrays, picture: np.ndarray, size: Shape, draw: Draw | None) -> None:
        picture = self.fit(picture, *size, self._window(draw))
        place(slot, self.augmented(picture, draw), self.reads)

    def _window(self, draw: Draw | None) -> tuple[float, float]:
        if draw is None or self.fit is not crop:
            return MIDDLE
        down, across = draw.generator("window").random(2)
        return float(down), float(across)

    def augmented(self, picture: np.ndarray, draw: Draw | None) -> np.ndarray:
        """Mirrored and turned as chance says; as it is in evaluation."""
        if draw is None:
            return picture
        if self.horizontal_flip and draw.flips[0] < 0.5:
            picture = picture[:, ::-1]
        if self.vertical_flip and draw.flips[1] < 0.5:
            picture = picture[::-1]
        return np.rot90(picture, draw.turns)


@dataclasses.dataclass(frozen=True)
class WithAspect:
    """A canvas, and "aspect" (1,) float32: ln(width / height) of the picture as it was, before any warp."""

    canvas: Canvas

    def sizes(self, own: np.ndarray) -> np.ndarray:
        return self.canvas.sizes(own)

    def occupied(self, sizes: np.ndarray) -> np.ndarray:
        return self.canvas.occupied(sizes)

    def spec(self, canvas: Shape) -> dict[str, Spec]:
        return {**self.canvas.spec(canvas), "aspect": Spec((1,), np.dtype(np.float32))}

    def write(self, slot: Arrays, picture: np.ndarray, size: Shape, draw: Draw | None) -> None:
        self.canvas.write(slot, picture, size, draw)
        height, width = picture.shape[:2]
        turned = draw is not None and draw.turns % 2
        slot["aspect"][0] = math.log(height / width if turned else width / height)


def place(slot: Arrays, picture: np.ndarray, reads: Reads) -> None:
    """A picture (h, w, 3) into the bottom-right corner of a slot's "images" (H, W, 3), and its "sizes" (2,)."""
    height, width = reads(np.array([picture.shape[:2]]))[0]
    canvas_height, canvas_width = slot["images"].shape[:2]
    slot["images"][canvas_height - height :, canvas_width - width :] = picture[:height, :width]
    slot["sizes"][:] = height, width


def empty_batch(spec: Mapping[str, Spec], slots: int) -> Arrays:
    """Arrays (slots, ...) of zeros: slots without a picture, whose size is (0, 0)."""
    return {name: _aligned_zeros((slots, *each.shape), each.dtype) for name, each in spec.items()}


def slot_of(batch: Arrays, number: int) -> Arrays:
    """One slot's part of every array, to be written to."""
    return {name: array[number] for name, array in batch.items()}


def _aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros from an address on that is a multiple of 64, which jax takes over on CPUs without a copy.

    Other arrays it copies in a thread of its own, which then runs the program as well, on memory of its own.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = np.zeros(size + 63, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)
