"""Checkpoints with orbax: the latest two and the best one, strict restore, a checksum of our own."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

policies = ocp.checkpoint_managers
CHECKSUM = "state_sha256"  # its key in the stored meta


class CheckpointError(ValueError):
    """A checkpoint does not fit or is damaged; the message says where and what to do."""


def _score(metrics: Mapping[str, float]) -> float:
    """Higher is better."""
    return -metrics["emd_r2"]


class Checkpoints:
    """The checkpoints of one run, saved asynchronously.

    Kept are the latest two and the best one: the lowest `emd_r2`. A save without a finite one is never best.
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
        handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_handlers=handlers)

    def save(self, step: int, state: Any, meta: Mapping[str, Any], emd_r2: float | None = None) -> None:
        """Start saving; `state` is any tree of arrays (PRNG keys as raw data), `meta` is JSON.

        Does nothing where `step` is saved already.
        Errors: CheckpointError where a later step is there already, or the directory is read-only.
        """
        if step in self._manager.all_steps():
            return
        content = ocp.args.Composite(
            state=ocp.args.StandardSave(_by_path(state)),
            meta=ocp.args.JsonSave({**meta, CHECKSUM: _checksum(state)}),
        )
        # orbax would take NaN for the best value
        metrics = {"emd_r2": emd_r2} if emd_r2 is not None and math.isfinite(emd_r2) else None
        if not self._manager.save(step, args=content, metrics=metrics):
            raise CheckpointError(
                f"steps are saved in ascending order into a writable folder; step {step} was not saved: "
                f"{self.directory} holds steps {self._manager.all_steps()} or was opened read-only. "
                "Use a new workdir to start over."
            )

    def restore(self, abstract_state: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """State and meta of `step` (default: the latest), placed as `abstract_state` says.

        Errors: CheckpointError where arrays differ in name, shape or type, or the data are damaged.
        """
        step = self._known(step)
        wanted = _by_path(abstract_state)
        _compare(wanted, self._manager.item_metadata(step)["state"], self.directory / str(step))
        content = ocp.args.Composite(state=ocp.args.StandardRestore(wanted), meta=ocp.args.JsonRestore())
        restored = self._manager.restore(step, args=content)
        leaves = [restored["state"][path] for path in wanted]
        state = jax.tree.unflatten(jax.tree.structure(abstract_state), leaves)
        meta = dict(restored["meta"])
        if meta.pop(CHECKSUM) != _checksum(state):
            raise CheckpointError(
                f"{self.directory / str(step)} is damaged: its arrays do not have the checksum they were saved "
                "with (a faulty disk or an incomplete copy). Delete this step's folder to go on from another."
            )
        return state, meta

    def meta(self, step: int | None = None) -> dict[str, Any]:
        """The JSON saved beside the state of `step` (default: the latest)."""
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        meta = dict(self._manager.restore(self._known(step), args=args)["meta"])
        del meta[CHECKSUM]
        return meta

    def latest_step(self) -> int | None:
        """The last step saved; None where nothing is."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the lowest emd_r2; the latest where none has one, None where nothing is saved."""
        self.wait()
        best = self._manager.best_step()
        return self.latest_step() if best is None else best

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
                "or the path is another one. Train first, or mend the path."
            )
        if step is not None and step not in steps:
            raise CheckpointError(f"{self.directory} holds steps {steps}, not {step}: choose one of them")
        return steps[-1] if step is None else step


def _by_path(state: Any) -> dict[str, Any]:
    """Path to array, in order of flattening: what is stored does not depend on Python classes."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _checksum(state: Any) -> str:
    """SHA-256 over the bytes of all arrays, in order of flattening."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        digest.update(jax.device_get(leaf).tobytes())
    return digest.hexdigest()


def _compare(wanted: Mapping[str, Any], stored: Any, where: Path) -> None:
    """Errors: CheckpointError naming the first arrays whose name, shape or type differs.

    stored: orbax' metadata, a mapping in all but its type.
    """
    here, there = ({k: f"{x.dtype}{tuple(x.shape)}" for k, x in tree.items()} for tree in (wanted, stored))
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
