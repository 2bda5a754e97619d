"""Batches of pixels and labels, read ahead of the device by threads; the state of the data is one integer."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from mtp.config import Config
from mtp.data import images
from mtp.data.batches import buckets
from mtp.data.batches.buckets import Shape
from mtp.data.batches.plan import FILLER, BatchPlan, TrainPlan, stream
from mtp.data.schema import MIN_SIDE, DataError, Dataset

Batch = dict[str, np.ndarray]


class Ahead:
    """load(0), load(1), ... in order, read ahead by threads; `waited` sums the seconds spent waiting."""

    def __init__(self, load: Callable[[int], Any], start: int, stop: int, threads: int, ahead: int):
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

    labels: arrays by name with one row a picture of the data set; those named *_weight are zero for fillers.
    """

    def __init__(self, dataset: Dataset, plan: TrainPlan, labels: Mapping[str, np.ndarray], config: Config):
        self._dataset, self._plan, self._labels, self._config = dataset, plan, labels, config

    def iterate(self, start: int, stop: int) -> Ahead:
        """Batches of the steps start .. stop - 1."""
        return Ahead(self.load, start, stop, self._config.input.threads, self._config.input.ahead)

    def load(self, step: int) -> Batch:
        """The batch of `step`: a pure function of the seed and the step."""
        plan = self._plan.batch(step)
        flips = stream(self._config.seed, "flip", step).random((len(plan.indices), 2))
        real = plan.indices[plan.indices != FILLER]
        pictures = [
            self._picture(int(i), plan, flip) for i, flip in zip(real, flips[: len(real)], strict=True)
        ]
        canvas, sizes = buckets.place(pictures, plan.shape, len(plan.indices))
        batch = {"images": canvas, "sizes": sizes}
        for name, values in self._labels.items():
            rows = np.zeros((len(plan.indices), *values.shape[1:]), values.dtype)
            rows[: len(real)] = values[real]
            batch[name] = rows
        return batch

    def abstract_batch(self, shape: Shape) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and type of every array of a batch on a canvas of `shape`."""
        slots = self._plan.batch_size
        arrays = {name: ((slots, *v.shape[1:]), v.dtype) for name, v in self._labels.items()}
        pictures = ((slots, *shape, 3), np.dtype(np.uint8))
        return {"images": pictures, "sizes": ((slots, 2), np.dtype(np.int32)), **arrays}

    def _picture(self, index: int, plan: BatchPlan, flip: np.ndarray) -> np.ndarray:
        c = self._config.input
        picture = read(self._dataset, index, self._config.data)
        if plan.size:
            # the size is the batch's after its turn
            height, width = plan.size[::-1] if plan.turns % 2 else plan.size
            picture = images.resize(picture, height, width)
        if c.horizontal_flip and flip[0] < 0.5:
            picture = picture[:, ::-1]
        if c.vertical_flip and flip[1] < 0.5:
            picture = picture[::-1]
        return np.rot90(picture, plan.turns)


def read(dataset: Dataset, index: int, config: Config) -> np.ndarray:
    """Decoded pixels (H, W, 3); a side under 32 is enlarged where the data set let such a picture in."""
    picture = images.decode(dataset.read(index), dataset.images[index], config.max_decode_pixels)
    height, width = picture.shape[:2]
    if (height, width) != tuple(dataset.sizes[index]):
        listed = "x".join(str(side) for side in dataset.sizes[index])
        raise DataError(
            f"{dataset.images[index]}: {height}x{width} pixels, listed with {listed} when the run began: the file "
            "changed; start again with the data as it is"
        )
    scale = max(1.0, MIN_SIDE / min(height, width))
    return images.resize(picture, round(height * scale), round(width * scale))


def evaluation_canvases(
    sets: Sequence[np.ndarray], count: int, batch_pixels: int, devices: int
) -> dict[Shape, int]:
    """At most `count` canvas shapes for all these sets of sizes (N, 2), and how many pictures a batch of each holds.

    One program a canvas evaluates every set. A batch holds at most `batch_pixels` canvas pixels where that leaves a
    picture for each device, no more than the largest set needs, and a multiple of `devices`.
    """
    shapes = buckets.choose_canvases(np.concatenate(sets), count)
    numbers = [np.bincount(buckets.assign(sizes, shapes), minlength=len(shapes)) for sizes in sets]
    most = np.max(numbers, axis=0)
    return {
        shape: _slots(int(n), batch_pixels // (shape[0] * shape[1]), devices)
        for shape, n in zip(shapes, most, strict=True)
    }


def evaluation_batches(
    dataset: Dataset,
    indices: np.ndarray,
    sizes: np.ndarray,
    canvases: Mapping[Shape, int],
    data: Config,
    reading: Config,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every picture of `indices` once, at its size of `sizes` (N, 2): (indices with -1 for fillers, batch).

    canvases: shapes and pictures a batch, of `evaluation_canvases`.
    """
    where = buckets.assign(sizes, list(canvases))
    jobs: list[tuple[Shape, np.ndarray]] = []
    for number, (shape, slots) in enumerate(canvases.items()):
        rows = np.flatnonzero(where == number)
        rows = np.concatenate([rows, np.full(-len(rows) % slots, FILLER)])
        jobs += [(shape, part) for part in rows.reshape(-1, slots)]

    def load(job: int) -> tuple[np.ndarray, Batch]:
        shape, rows = jobs[job]
        real = rows[rows != FILLER]
        pictures = [images.resize(read(dataset, int(indices[r]), data), *map(int, sizes[r])) for r in real]
        canvas, valid = buckets.place(pictures, shape, len(rows))
        numbers = np.full(len(rows), FILLER)
        numbers[: len(real)] = indices[real]
        return numbers, {"images": canvas, "sizes": valid}

    return Ahead(load, 0, len(jobs), reading.threads, reading.ahead)


def _slots(pictures: int, budget: int, devices: int) -> int:
    """Pictures a batch: at most `budget` where that holds one a device, with as few fillers as that leaves."""
    limit = max(budget // devices, 1) * devices
    batches = -(-pictures // limit)
    return -(-pictures // (batches * devices)) * devices
