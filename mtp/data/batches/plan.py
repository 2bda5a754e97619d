"""Which pictures make up which training batch: a pure function of (seed, step)."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from mtp.config import Config, ConfigError
from mtp.data.batches import buckets
from mtp.data.batches.buckets import Shape
from mtp.data.schema import DataError

FILLER = -1  # index of an empty slot


def stream(seed: int, name: str, *position: int) -> np.random.Generator:
    """A generator of its own for each named purpose and position."""
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return np.random.default_rng([seed, word, *position])


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """indices: (B,) positions in the data set, -1 for a filler; size: height and width to warp pictures to, or
    None to keep their own; shape: the canvas (odd sides); turns: counter-clockwise quarter turns of the batch.
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
    def from_config(cls, config: Config, rows: np.ndarray, sizes: np.ndarray) -> "TrainPlan":
        """The plan for the pictures `rows` of a data set with these sizes (N, 2).

        Errors: DataError without pictures; ValueError on options that exclude one another.
        """
        c = config.input
        if len(rows) == 0:
            raise DataError("training needs at least one picture, the split has none: check the splits")
        common = {"batch_size": c.batch_size, "seed": config.seed, "quarter_turns": c.quarter_turns}
        if c.order == "native":
            if c.quarter_turns:
                raise ConfigError(
                    "input.quarter_turns needs warped buckets; it cannot go with input.order=native"
                )
            own = buckets.enlarged(sizes[rows])
            canvases = buckets.choose_canvases(own, c.canvases)
            where = buckets.assign(own, canvases)
            members = tuple(rows[where == i] for i in range(len(canvases)))
            return cls(members, (None,) * len(canvases), tuple(canvases), **common)
        shapes: tuple[Shape, ...] = tuple((int(h), int(w)) for h, w in c.sizes)
        canvases = tuple(_odd(shape) for shape in shapes)
        if c.quarter_turns and {s[::-1] for s in canvases} != set(canvases):
            raise ConfigError(
                f"input.quarter_turns needs each size's transpose among input.sizes; they are {shapes}"
            )
        if c.order == "cycle":
            return cls((rows,) * len(shapes), shapes, canvases, cycle=True, **common)
        if c.order != "buckets":
            raise ConfigError(f"input.order must be buckets, cycle or native, not {c.order!r}")
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
            # only warped buckets are turned
            size, shape = size and (size[1], size[0]), (shape[1], shape[0])
        return BatchPlan(step, indices, size, shape, turns)

    def _epoch(self, epoch: int) -> Sequence[tuple[int, np.ndarray]]:
        return _epoch_batches(self, epoch)


def _odd(shape: Shape) -> Shape:
    height, width = buckets.trimmed(np.array(shape))
    return int(height), int(width)


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
