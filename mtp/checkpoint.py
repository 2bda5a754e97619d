"""Checkpoints with orbax: the latest two and the best one, strict restore, a checksum of our own."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

policies = ocp.checkpoint_managers


class CheckpointError(ValueError):
    """A checkpoint does not fit or is damaged; the message says where and what to do."""


def _score(metrics: Mapping[str, float]) -> float:
    """Higher is better; not a number is never the best."""
    value = metrics["emd_r2"]
    return -math.inf if math.isnan(value) else -value


class Checkpoints:
    """The checkpoints of one run, saved asynchronously.

    Lowest `emd_r2` is best; a save without it is never best and is kept only while it is among the latest.
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
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(self, step: int, state: Any, meta: Mapping[str, Any], emd_r2: float | None = None) -> None:
        """Start saving; `meta` is JSON. Does nothing where `step` is saved already."""
        if step in self._manager.all_steps():
            return
        content = ocp.args.Composite(
            state=ocp.args.StandardSave(_as_dict(state)),
            meta=ocp.args.JsonSave({**meta, "state_sha256": _checksum(state)}),
        )
        metrics = {} if emd_r2 is None else {"emd_r2": emd_r2}
        saved = self._manager.save(step, args=content, metrics=metrics or None)
        if not saved:
            raise CheckpointError(f"{self.directory} holds later steps than {step}; nothing was saved")

    def restore(self, abstract_state: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """State and meta of `step` (default: the latest), placed as `abstract_state` says.

        Errors: CheckpointError where arrays differ in name, shape or type, or the data are damaged.
        """
        step = self._known(step)
        wanted = _as_dict(abstract_state)
        stored = self._manager.item_metadata(step)["state"]
        _compare(wanted, stored, self.directory / str(step))
        content = ocp.args.Composite(state=ocp.args.StandardRestore(wanted), meta=ocp.args.JsonRestore())
        restored = self._manager.restore(step, args=content)
        leaves = jax.tree.leaves(restored["state"])
        state = jax.tree.unflatten(jax.tree.structure(abstract_state), leaves)
        meta = dict(restored["meta"])
        if meta.pop("state_sha256") != _checksum(state):
            raise CheckpointError(
                f"{self.directory / str(step)} is damaged: its arrays do not have the checksum they were saved "
                "with. Delete this step's folder to go on from the one before."
            )
        return state, meta

    def meta(self, step: int | None = None) -> dict[str, Any]:
        """The JSON saved beside the state of `step` (default: the latest)."""
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return dict(self._manager.restore(self._known(step), args=args)["meta"])

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the lowest emd_r2; the latest where none has one."""
        self._manager.wait_until_finished()
        return self._manager.best_step()

    def close(self) -> None:
        """Wait for the last save, then release the directory."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _known(self, step: int | None) -> int:
        step = self.latest_step() if step is None else step
        if step is None:
            raise CheckpointError(f"{self.directory} must hold a checkpoint, but it has none; train first")
        return step


def _as_dict(state: Any) -> dict[str, Any]:
    """The state as a flat dict from path to array: what is stored does not depend on Python classes."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    # zero-padded numbers keep the order of flattening under sorting
    return {
        f"{i:05d} {jax.tree_util.keystr(p, simple=True, separator='/')}": x for i, (p, x) in enumerate(leaves)
    }


def _checksum(state: Any) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()


def _compare(wanted: Mapping[str, Any], stored: Mapping[str, Any], where: Path) -> None:
    def shapes(tree: Mapping[str, Any]) -> dict[str, str]:
        return {k.split(" ", 1)[1]: f"{np.dtype(x.dtype).name}{tuple(x.shape)}" for k, x in tree.items()}

    here, there = shapes(wanted), shapes(stored)
    names = [n for n in {**here, **there} if here.get(n) != there.get(n)]
    if names:
        lines = [
            f"  {n}: stored {there.get(n, 'missing')}, wanted {here.get(n, 'missing')}" for n in names[:5]
        ]
        raise CheckpointError(
            f"{where} holds another architecture; {len(names)} arrays differ, the first:\n"
            + "\n".join(lines)
            + "\nUse the configuration that it was trained with, or another workdir."
        )
