"""The checkpoints of a run: the latest two and the best one, strict restore, every byte under a checksum.

A checkpoint has three parts: "model", the variables that predict; "training", all else that influences later steps;
and the meta, JSON. A predictor reads the first and the last alone. `step_folder` says how they lie on the disk.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from mtp.processes.ending import explained
from mtp.runtime import packing, step_folder
from mtp.runtime.packing import Listing
from mtp.runtime.step_folder import DamagedError, Stored


class CheckpointError(ValueError):
    """A checkpoint does not fit, is damaged or cannot be saved; the message says where and what to do."""


class Checkpoints:
    """Saved in the background, each whole or not at all; the latest two are kept, and the best: of the highest score.

    Damaged ones are set aside when the directory is opened, each with a line, so that the run goes on from the one
    before. read_only: nothing is written, removed or set aside, and `save` is an error.
    Errors: CheckpointError where there are checkpoints, but not one is whole.
    """

    def __init__(self, directory: Path, *, read_only: bool = False):
        self.directory, self._read_only = directory.absolute(), read_only
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._saving: Future[None] | None = None
        if not read_only:
            self.directory.mkdir(parents=True, exist_ok=True)
            step_folder.sweep(self.directory)
            self._set_damaged_aside()

    def save(
        self, step: int, model: Any, training: Any, meta: Mapping[str, Any], *, rated: bool = False
    ) -> None:
        """Start saving; `model` and `training` are any trees of arrays (PRNG keys as raw data), `meta` is JSON.

        rated: the step will be validated, and `rate` is to follow. Does nothing where `step` is saved already.
        Errors: CheckpointError where a later step is there already, the directory is read-only, or the save before
        this one has failed.
        """
        self.wait()
        there = self.steps()
        if step in there:
            return
        if self._read_only or (there and step < there[-1]):
            raise CheckpointError(
                f"steps are saved in ascending order into a writable folder; step {step} was not saved: "
                f"{self.directory} holds steps {there} or was opened read-only. Use a new workdir to start over."
            )
        # on the host when this returns: the caller may give the state away
        items = {"model": packing.packed(model), "training": packing.packed(training)}
        self._saving = self._writer.submit(self._write, step, items, dict(meta), rated)

    def rate(self, step: int, score: float | None) -> None:
        """The step was validated; None, or a number that is not finite: it is never the best.

        Errors: CheckpointError where this cannot be written, or saving has failed.
        """
        self.wait()
        with self._writing(step):
            step_folder.write_score(self._folder(step), score)
            self._prune()

    def awaits_rating(self, step: int) -> bool:
        """Whether a step that was to be validated was not: its run was ended before. Errors: as `meta`."""
        self.wait()
        with self._reading(step) as folder:
            return step_folder.awaits_score(folder)

    def restore(self, model: Any, training: Any, step: int | None = None) -> tuple[Any, Any, dict[str, Any]]:
        """Both items and the meta of `step` (default: the latest), placed as the abstract trees say.

        Errors: CheckpointError where arrays differ in name, shape or type, or the data are damaged.
        """
        self.wait()
        with self._reading(step) as folder:
            stored = step_folder.read_meta(folder)
            return _arrays("model", model, stored), _arrays("training", training, stored), stored.meta

    def restore_model(self, model: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """The variables that predict, alone, and the meta. Errors: as `restore`."""
        self.wait()
        with self._reading(step) as folder:
            stored = step_folder.read_meta(folder)
            return _arrays("model", model, stored), stored.meta

    def meta(self, step: int | None = None) -> dict[str, Any]:
        """The JSON saved beside the arrays of `step` (default: the latest). Errors: CheckpointError where damaged."""
        self.wait()
        with self._reading(step) as folder:
            return step_folder.read_meta(folder).meta

    def steps(self) -> list[int]:
        """All that are saved, ascending."""
        return step_folder.steps(self.directory)

    def latest_step(self) -> int | None:
        """The last step saved; None where nothing is."""
        self.wait()
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step with the highest score; the latest where none has one, None where nothing is saved.

        Errors: CheckpointError where a score is damaged.
        """
        self.wait()
        best = self._best()
        return self.latest_step() if best is None else best

    def best_known_step(self) -> int:
        """As `best_step`. Errors: CheckpointError where nothing is saved, too."""
        return self._known(self.best_step())

    def wait(self) -> None:
        """Until the last save is on disk. Errors: CheckpointError where it has failed."""
        saving = self._saving
        if saving:
            try:
                saving.result()
            finally:
                # another thread may wait for the same one
                self._saving = None

    def check(self) -> None:
        """Errors: CheckpointError where the last save has failed by now."""
        if self._saving and self._saving.done():
            self.wait()

    def close(self) -> None:
        """Wait for the last save. Errors: CheckpointError where it has failed."""
        self._writer.shutdown()
        self.wait()

    def _write(self, step: int, items: Mapping[str, Any], meta: Mapping[str, Any], rated: bool) -> None:
        with self._writing(step):
            step_folder.write(self._folder(step), items, meta, rated=rated)
            self._prune()

    def _prune(self) -> None:
        """Remove all but the latest two and the best."""
        there = self.steps()
        for step in {*there} - {*there[-2:], self._best()}:
            step_folder.remove(self._folder(step))

    def _best(self) -> int | None:
        """Of the highest score, the later of equal ones; None where none has one."""
        scores, there = {}, self.steps()
        for step in there:
            with self._reading(step) as folder:
                scores[step] = step_folder.read_score(folder, latest=step == there[-1])
        known = [(score, step) for step, score in scores.items() if score is not None]
        return max(known)[1] if known else None

    def _set_damaged_aside(self) -> None:
        damaged: dict[int, str] = {}
        there = self.steps()
        for step in there:
            try:
                step_folder.check(self._folder(step), latest=step == there[-1])
            except DamagedError as error:
                damaged[step] = str(error)
        whole = [step for step in there if step not in damaged]
        if damaged and not whole:
            each = "; ".join(f"{self._folder(step)} {what}" for step, what in damaged.items())
            raise CheckpointError(
                f"not one checkpoint can be used: {each}. Restore a copy, or start in a new workdir"
            )
        for step, what in damaged.items():
            aside = step_folder.set_aside(self._folder(step))
            print(
                f"warning: {self._folder(step)} {what}. It is now {aside.name}; the latest whole step is {whole[-1]}",
                flush=True,
            )

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(f"step {step} could not be saved: {explained(error)}") from error

    @contextmanager
    def _reading(self, step: int | None) -> Iterator[Path]:
        """The folder of a step (None: the latest). Errors: CheckpointError where it is not there, or damaged."""
        known = self._known(step)
        folder = self._folder(known)
        try:
            yield folder
        except DamagedError as error:
            if not folder.exists():
                raise CheckpointError(f"{folder} was removed meanwhile, by a training; try again") from error
            others = ", ".join(str(other) for other in self.steps() if other != known)
            advice = f". Delete this step's folder to go on from another ({others})" if others else ""
            raise CheckpointError(f"{folder} {error}{advice}") from error

    def _folder(self, step: int) -> Path:
        return self.directory / str(step)

    def _known(self, step: int | None) -> int:
        steps = self.steps()
        if not steps:
            raise CheckpointError(
                f"{self.directory} must hold a checkpoint, but it has none: the run ended before its first save "
                "or the path is another one. Train first, or correct the path."
            )
        if step is not None and step not in steps:
            raise CheckpointError(f"{self.directory} holds steps {steps}, not {step}: choose one of them")
        return steps[-1] if step is None else step


def _arrays(item: str, abstract: Any, stored: Stored) -> Any:
    """An item's arrays in the tree `abstract`, where that says they lie."""
    wanted, there = packing.by_path(abstract), stored.arrays[item]
    _compare(packing.listing(abstract), there, stored.folder)
    arrays = packing.unpacked(step_folder.read_vectors(stored, item), there, wanted)
    places = [array.sharding for array in wanted.values()]
    # copies, since a training step takes its state's memory for its results
    placed = jax.device_put([arrays[path] for path in wanted], places, may_alias=False)
    return jax.tree.unflatten(jax.tree.structure(abstract), placed)


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
