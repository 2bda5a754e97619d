"""Which pictures make up which training batch: a pure function of (seed, step)."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from mtp.config import Config
from mtp.data.batches import buckets
from mtp.data.batches.sizes import Shape
from mtp.data.batches.streams import stream
from mtp.data.batches.views import View
from mtp.data.schema import DataError

FILLER = -1  # index of an empty slot


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """indices: (B,) positions in the data set, -1 for a filler; size: height and width that pictures get, or None
    where their own size decides; shape: the canvas; turns: counter-clockwise quarter turns of the batch.
    """

    step: int
    indices: np.ndarray
    size: Shape | None
    shape: Shape
    turns: int


@dataclasses.dataclass(frozen=True, eq=False)
class TrainPlan:
    """members: positions of the pictures of each bucket; sizes: each bucket's HxW, or None for native.

    cycle: whole epochs of one size in turn, every picture at each (section 4.5).
    """

    members: tuple[np.ndarray, ...]
    sizes: tuple[Shape | None, ...]
    canvases: tuple[Shape, ...]
    batch_size: int
    seed: int
    cycle: bool = False
    quarter_turns: bool = False

    @classmethod
    def from_config(cls, config: Config, rows: np.ndarray, sizes: np.ndarray, view: View) -> "TrainPlan":
        """The plan for the pictures `rows` of a data set with these sizes (N, 2).

        Errors: DataError without pictures.
        """
        c = config.input
        if len(rows) == 0:
            raise DataError("training needs at least one picture, the split has none: check the splits")
        common = {"batch_size": c.batch_size, "seed": config.seed, "quarter_turns": c.quarter_turns}
        if c.order == "native":
            taken = view.occupied(view.sizes(sizes[rows]))
            canvases = buckets.choose_canvases(taken, c.canvases)
            where = buckets.assign(taken, canvases)
            members = tuple(rows[where == i] for i in range(len(canvases)))
            return cls(members, (None,) * len(canvases), tuple(canvases), **common)
        shapes: tuple[Shape, ...] = tuple((int(h), int(w)) for h, w in c.sizes)
        canvases = tuple((int(h), int(w)) for h, w in view.occupied(np.array(shapes)))
        if c.order == "cycle":
            return cls((rows,) * len(shapes), shapes, canvases, cycle=True, **common)
        where = buckets.nearest_bucket(sizes[rows], shapes)
        return cls(tuple(rows[where == i] for i in range(len(shapes))), shapes, canvases, **common)

    @property
    def steps_per_epoch(self) -> int:
        """The same in every epoch."""
        counts = [-(-len(m) // self.batch_size) for m in self.members]
        return counts[0] if self.cycle else sum(counts)

    @property
    def shapes(self) -> list[Shape]:
        """Canvas shapes that occur: one program each."""
        used = {s for s, m in zip(self.canvases, self.members, strict=True) if len(m)}
        if self.quarter_turns:
            used |= {(width, height) for height, width in used}
        return sorted(used)

    def batch(self, step: int) -> BatchPlan:
        """Batch of `step`; within an epoch every picture occurs once."""
        epoch, place = divmod(step, self.steps_per_epoch)
        bucket, indices = self._epoch(epoch)[place]
        turns = int(stream(self.seed, "turn", step).integers(4)) if self.quarter_turns else 0
        size, shape = self.sizes[bucket], self.canvases[bucket]
        if turns % 2:
            # only buckets are turned
            size, shape = size and (size[1], size[0]), (shape[1], shape[0])
        return BatchPlan(step, indices, size, shape, turns)

    def _epoch(self, epoch: int) -> Sequence[tuple[int, np.ndarray]]:
        return _epoch_batches(self, epoch)


@functools.lru_cache(maxsize=2)
def _epoch_batches(plan: TrainPlan, epoch: int) -> list[tuple[int, np.ndarray]]:
    """All batches of an epoch, (bucket, indices): each bucket shuffled and cut, then the batches shuffled."""
    chosen = [epoch % len(plan.members)] if plan.cycle else range(len(plan.members))
    batches = []
    for bucket in chosen:
        order = stream(plan.seed, "order", epoch, bucket).permutation(plan.members[bucket])
        spare = -len(order) % plan.batch_size
        order = np.concatenate([order, np.full(spare, FILLER, order.dtype)])
        batches += [(bucket, indices) for indices in order.reshape(-1, plan.batch_size)]
    shuffle = stream(plan.seed, "batches", epoch).permutation(len(batches))
    return [batches[i] for i in shuffle]
