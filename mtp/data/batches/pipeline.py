"""Batches of inputs and labels, read ahead of the device by threads; the state of the data is one integer.

A batch is {"inputs": {...}, "slots": {"filled"}, "labels": {...}, "weights": {...}}: what the view gives, 1 for each
slot with a picture (B,), and each task's labels (B, ...) and weights (B,). Slots without a picture are zero everywhere.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from mtp.config import Config
from mtp.data import images
from mtp.data.batches import buckets
from mtp.data.batches.plan import FILLER, BatchPlan, TrainPlan
from mtp.data.batches.sizes import Shape
from mtp.data.batches.streams import stream
from mtp.data.batches.views import Arrays, Draw, Spec, View, empty_batch, slot_of
from mtp.data.budget import IN_FLIGHT
from mtp.data.schema import DataError, Pictures
from mtp.names import shown

Batch = dict[str, Arrays]


class Ahead:
    """load(0), load(1), ... in order, read ahead by threads; `waited` sums the seconds spent waiting."""

    def __init__(self, load: Callable[[int], Any], start: int, stop: int, threads: int, ahead: int):
        # not at the top: it takes half a second, and who only asks for shapes needs none of it
        import grain

        source = grain.MapDataset.range(start, stop).map(load)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        self._batches = iter(source.to_iter_dataset(options))
        self.waited = 0.0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        start = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.waited += time.perf_counter() - start


class TrainBatches:
    """Training batches by step.

    labels, weights: arrays of each task with one row a picture. min_side: of the network.
    """

    def __init__(
        self,
        pictures: Pictures,
        plan: TrainPlan,
        view: View,
        labels: Mapping[str, np.ndarray],
        weights: Mapping[str, np.ndarray],
        config: Config,
        min_side: int,
    ):
        self._pictures, self._plan, self._view, self._config = pictures, plan, view, config
        self._rows = {"labels": labels, "weights": weights}
        self._min_side = min_side

    def iterate(self, start: int, stop: int) -> Ahead:
        """Batches of the steps start .. stop - 1."""
        return Ahead(self.load, start, stop, self._config.input.threads, self._config.input.ahead)

    def load(self, step: int) -> Batch:
        """The batch of `step`: a pure function of the seed and the step."""
        plan, seed = self._plan.batch(step), self._config.seed
        slots = len(plan.indices)
        flips = stream(seed, "flip", step).random((slots, 2))
        real = plan.indices[plan.indices != FILLER]
        inputs = empty_batch(self._view.spec(plan.shape), slots)
        for slot, index in enumerate(real):
            draw = Draw(seed, step, slot, flips[slot], plan.turns)
            self._write(slot_of(inputs, slot), int(index), plan, draw)
        filled = (np.arange(slots) < len(real)).astype(np.float32)
        return {"inputs": inputs, "slots": {"filled": filled}} | {
            part: {task: _filled(values, real, slots) for task, values in rows.items()}
            for part, rows in self._rows.items()
        }

    def spec(self, shape: Shape) -> dict[str, dict[str, Spec]]:
        """Shape and type of every array of a batch with a canvas of this shape."""
        slots = self._plan.batch_size

        def of_batch(spec: Mapping[str, Spec]) -> dict[str, Spec]:
            return {name: Spec((slots, *each.shape), each.dtype) for name, each in spec.items()}

        filled = {"filled": Spec((), np.dtype(np.float32))}
        return {"inputs": of_batch(self._view.spec(shape)), "slots": of_batch(filled)} | {
            part: of_batch({task: Spec(v.shape[1:], v.dtype) for task, v in rows.items()})
            for part, rows in self._rows.items()
        }

    def _write(self, slot: Arrays, index: int, plan: BatchPlan, draw: Draw) -> None:
        if plan.size:
            # the size is the batch's after its turn
            size = plan.size[::-1] if plan.turns % 2 else plan.size
        else:
            size = self._view.sizes(np.array([self._pictures.sizes[index]]))[0]
        with _in_flight(self._pictures, index):
            picture = read(self._pictures, index, self._config.data.max_decode_pixels, self._min_side)
            self._view.write(slot, picture, (int(size[0]), int(size[1])), draw)


def _filled(values: np.ndarray, real: np.ndarray, slots: int) -> np.ndarray:
    """The rows of these pictures, and zeros behind them."""
    rows = np.zeros((slots, *values.shape[1:]), values.dtype)
    rows[: len(real)] = values[real]
    return rows


def _in_flight(pictures: Pictures, index: int) -> AbstractContextManager[None]:
    """From decoding until the picture lies in its slot."""
    height, width = map(int, pictures.sizes[index])
    return IN_FLIGHT.hold(height * width)


def read(pictures: Pictures, index: int, max_pixels: int, min_side: int) -> np.ndarray:
    """Pixels (H, W, 3) of a picture; one with a side under `min_side` is enlarged isotropically.

    Errors: DataError, of one line, where the file is no whole picture or not the one that it was.
    """
    try:
        picture = pictures.pixels(index, max_pixels)
    except images.ImageError as error:
        raise DataError(
            f"{error}. python -m mtp.data.doctor finds every such picture of a data set, and --fix leaves them out"
        ) from error
    height, width = picture.shape[:2]
    if (height, width) != tuple(pictures.sizes[index]):
        listed = "x".join(str(side) for side in pictures.sizes[index])
        raise DataError(
            f"{shown(pictures.images[index])}: {height}x{width} pixels, listed with {listed} when the run began: the "
            "file changed; start again with the data as it is"
        )
    scale = max(1.0, min_side / min(height, width))
    return images.resize(picture, round(height * scale), round(width * scale))


def evaluation_canvases(
    sets: Sequence[np.ndarray], count: int, batch_pixels: int, devices: int
) -> dict[Shape, int]:
    """At most `count` canvas shapes for all these sets of sizes (N, 2), and how many pictures a batch of each holds.

    sets: what pictures take up of a canvas (`View.occupied`). One program a canvas evaluates every set. A batch holds
    at most `batch_pixels` canvas pixels where that leaves a picture for each device, no more than the largest set
    needs, and a multiple of `devices`.
    """
    shapes = buckets.choose_canvases(np.concatenate(sets), count)
    numbers = [np.bincount(buckets.assign(sizes, shapes), minlength=len(shapes)) for sizes in sets]
    most = np.max(numbers, axis=0)
    return {
        shape: _slots(int(n), batch_pixels // (shape[0] * shape[1]), devices)
        for shape, n in zip(shapes, most, strict=True)
    }


def evaluation_batches(
    pictures: Pictures,
    indices: np.ndarray,
    sizes: np.ndarray,
    canvases: Mapping[Shape, int],
    view: View,
    config: Config,
    min_side: int,
) -> Iterator[tuple[np.ndarray, Arrays]]:
    """Every picture of `indices` once, at its size of `sizes` (N, 2): (rows of `indices`, -1 for fillers; inputs).

    canvases: shapes and pictures a batch, of `evaluation_canvases`.
    """
    where = buckets.assign(view.occupied(sizes), list(canvases))
    jobs: list[tuple[Shape, np.ndarray]] = []
    for number, (shape, slots) in enumerate(canvases.items()):
        rows = np.flatnonzero(where == number)
        rows = np.concatenate([rows, np.full(-len(rows) % slots, FILLER)])
        jobs += [(shape, part) for part in rows.reshape(-1, slots)]

    def load(job: int) -> tuple[np.ndarray, Arrays]:
        shape, rows = jobs[job]
        inputs = empty_batch(view.spec(shape), len(rows))
        for slot, row in enumerate(rows[rows != FILLER]):
            size = int(sizes[row, 0]), int(sizes[row, 1])
            with _in_flight(pictures, int(indices[row])):
                picture = read(pictures, int(indices[row]), config.data.max_decode_pixels, min_side)
                view.write(slot_of(inputs, slot), picture, size, None)
        return rows, inputs

    return Ahead(load, 0, len(jobs), config.input.threads, config.input.ahead)


def _slots(pictures: int, budget: int, devices: int) -> int:
    """Pictures a batch: at most `budget` where that holds one a device, with as few fillers as that leaves."""
    limit = max(budget // devices, 1) * devices
    batches = -(-pictures // limit)
    return -(-pictures // (batches * devices)) * devices
