"""Checkpoints with orbax: the latest two and the best one, strict restore, checksums of our own.

A checkpoint has three items: "model", the variables that predict; "training", all else that influences later steps;
and "meta", JSON. A predictor reads the first and the last alone. Arrays are packed (`packing`), since orbax takes
seconds to read a thousand small ones; their names and shapes are in the meta.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from mtp.runtime import packing
from mtp.runtime.packing import Listing

policies = ocp.checkpoint_managers
ITEMS = ("model", "training")  # those that hold arrays
# keys in the stored meta: of each item the `Listing`; of each item's vectors and of the meta the SHA-256
ARRAYS, CHECKSUMS = "arrays", "sha256"


class _Stored(NamedTuple):
    """What a step's meta says: of its arrays and checksums, item by item, and what was saved as its meta."""

    step: int
    arrays: dict[str, Listing]
    sums: dict[str, str]
    meta: dict[str, Any]


class CheckpointError(ValueError):
    """A checkpoint does not fit or is damaged; the message says where and what to do."""


def _score(metrics: Mapping[str, float]) -> float:
    """Higher is better."""
    return metrics["score"]


class Checkpoints:
    """The checkpoints of one run, saved asynchronously.

    Kept are the latest two and the best one, of the highest score. A save without a finite score is never best.
    read_only: nothing is written or cleaned up, and `save` is an error.
    """

    def __init__(self, directory: Path, *, read_only: bool = False):
        keep = [
            policies.LatestN(2),
            policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]
        options = ocp.CheckpointManagerOptions(
            best_fn=_score,
            cleanup_tmp_directories=not read_only,
            preservation_policy=policies.AnyPreservationPolicy(keep),
            read_only=read_only,
        )
        self.directory = directory.absolute()
        # named here, or a process that has saved nothing yet cannot read the stored shapes
        handlers: Any = {name: ocp.StandardCheckpointHandler() for name in ITEMS}
        handlers["meta"] = ocp.JsonCheckpointHandler()
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_handlers=handlers)

    def save(
        self, step: int, model: Any, training: Any, meta: Mapping[str, Any], score: float | None = None
    ) -> None:
        """Start saving; `model` and `training` are any trees of arrays (PRNG keys as raw data), `meta` is JSON.

        Does nothing where `step` is saved already.
        Errors: CheckpointError where a later step is there already, or the directory is read-only.
        """
        if step in self._manager.all_steps():
            return
        packed = {"model": packing.packed(model), "training": packing.packed(training)}
        meta = {**meta, ARRAYS: {item: listing for item, (_, listing) in packed.items()}}
        sums = {item: packing.checksum(vectors) for item, (vectors, _) in packed.items()}
        sums["meta"] = _checksum_of_json(meta)
        content = ocp.args.Composite(
            meta=ocp.args.JsonSave({**meta, CHECKSUMS: sums}),
            **{item: ocp.args.StandardSave(vectors) for item, (vectors, _) in packed.items()},
        )
        # orbax would take NaN for the best value
        metrics = {"score": score} if score is not None and math.isfinite(score) else None
        if not self._manager.save(step, args=content, metrics=metrics):
            raise CheckpointError(
                f"steps are saved in ascending order into a writable folder; step {step} was not saved: "
                f"{self.directory} holds steps {self._manager.all_steps()} or was opened read-only. "
                "Use a new workdir to start over."
            )

    def restore(self, model: Any, training: Any, step: int | None = None) -> tuple[Any, Any, dict[str, Any]]:
        """Both items and the meta of `step` (default: the latest), placed as the abstract trees say.

        Errors: CheckpointError where arrays differ in name, shape or type, or the data are damaged.
        """
        stored = self._stored(self._known(step))
        return self._arrays("model", model, stored), self._arrays("training", training, stored), stored.meta

    def restore_model(self, model: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """The variables that predict, alone, and the meta. Errors: as `restore`."""
        stored = self._stored(self._known(step))
        return self._arrays("model", model, stored), stored.meta

    def meta(self, step: int | None = None) -> dict[str, Any]:
        """The JSON saved beside the arrays of `step` (default: the latest). Errors: CheckpointError where damaged."""
        return self._stored(self._known(step)).meta

    def _stored(self, step: int) -> _Stored:
        """What the meta of a step says."""
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        meta = dict(self._manager.restore(step, args=args)["meta"])
        if not {ARRAYS, CHECKSUMS} <= meta.keys():
            raise CheckpointError(
                f"{self._folder(step)} was saved by an earlier version, in another form; train again in a new "
                "workdir, or use that version"
            )
        sums = meta.pop(CHECKSUMS)
        self._check(step, "meta", sums["meta"], _checksum_of_json(meta))
        return _Stored(step, meta.pop(ARRAYS), sums, meta)

    def _arrays(self, item: str, abstract: Any, stored: _Stored) -> Any:
        wanted, there = packing.by_path(abstract), stored.arrays[item]
        _compare(packing.listing(abstract), there, self._folder(stored.step))
        content = ocp.args.Composite(**{item: ocp.args.StandardRestore(packing.empty(wanted))})
        vectors = self._manager.restore(stored.step, args=content)[item]
        self._check(stored.step, item, stored.sums[item], packing.checksum(vectors))
        arrays = packing.unpacked(vectors, there, wanted)
        places = [array.sharding for array in wanted.values()]
        # copies, since a training step takes its state's memory for its results
        placed = jax.device_put([arrays[path] for path in wanted], places, may_alias=False)
        return jax.tree.unflatten(jax.tree.structure(abstract), placed)

    def _check(self, step: int, item: str, stored: str, found: str) -> None:
        if stored != found:
            raise CheckpointError(
                f"{self._folder(step)} is damaged: its {item} does not have the checksum it was saved with (a "
                "faulty disk or an incomplete copy). Delete this step's folder to go on from another."
            )

    def _folder(self, step: int) -> Path:
        return self.directory / str(step)

    def latest_step(self) -> int | None:
        """The last step saved; None where nothing is."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the highest score; the latest where none has one, None where nothing is saved."""
        self.wait()
        best = self._manager.best_step()
        return self.latest_step() if best is None else best

    def best_known_step(self) -> int:
        """As `best_step`. Errors: CheckpointError where nothing is saved."""
        return self._known(self.best_step())

    def wait(self) -> None:
        """Until the last save is on disk; its errors are raised here."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for the last save, then release the directory."""
        self.wait()
        self._manager.close()

    def _known(self, step: int | None) -> int:
        self.wait()
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise CheckpointError(
                f"{self.directory} must hold a checkpoint, but it has none: the run ended before its first save "
                "or the path is another one. Train first, or correct the path."
            )
        if step is not None and step not in steps:
            raise CheckpointError(f"{self.directory} holds steps {steps}, not {step}: choose one of them")
        return steps[-1] if step is None else step


def _checksum_of_json(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _compare(here: Listing, there: Listing, where: Path) -> None:
    """Errors: CheckpointError naming the first arrays whose name, shape or type differs; here: what is wanted."""
    differing = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    if differing:
        lines = [
            f"  {name}: stored {there.get(name, 'nothing')}, wanted {here.get(name, 'nothing')}"
            for name in differing[:5]
        ]
        raise CheckpointError(
            f"the model must have the arrays that {where} holds; {len(differing)} differ, the first:\n"
            + "\n".join(lines)
            + "\nLikely another backbone, head, number of ratings or optimiser. Use the configuration that it "
            "was trained with, or another workdir."
        )
