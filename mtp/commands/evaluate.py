"""A workdir's best checkpoint over a split, possibly of another data set; or on pictures without votes."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mtp import native, workdirs
from mtp.commands.overlap import refuse_overlap
from mtp.commands.report import report
from mtp.config import Config
from mtp.data import pictures as picture_files
from mtp.data.load import load
from mtp.evaluation import plan
from mtp.inference import columns
from mtp.inference.predictor import Predictor
from mtp.processes import lock
from mtp.processes.lock import LockError
from mtp.runtime.checkpoint import Checkpoints


def evaluate(config: Config, workdir: Path, given: Mapping[str, Any], *, allow_overlap: bool) -> None:
    """given: options of the command line."""
    config = native.resolved(config)
    predictor, dataset = Predictor.load(workdir, config=config), load(config.data)
    notes = plan.check(predictor, dataset)
    refuse_overlap(dataset, config, predictor.trained, allowed=allow_overlap)
    latest, steps = latest_step(workdir), predictor.meta["steps"]
    if latest != steps:
        print(f"note: training has not reached its end, step {latest} of {steps}")
    for message in notes:
        print(f"note: {message}")
    canvases = plan.canvases(predictor, dataset)
    origin, finished = predictor.meta["weights"], latest == steps
    with _folder(workdir, dataset.name, config, given) as folder:
        report(
            predictor, predictor.step, dataset, folder, origin, notes, finished=finished, canvases=canvases
        )


def predict(config: Config, workdir: Path, folder: Path) -> None:
    """predictions.csv of every picture in and below a folder, by a workdir's best checkpoint."""
    predictor = Predictor.load(workdir, config=native.resolved(config))
    pictures = picture_files.of_folder(folder, config.data.max_decode_pixels)
    for message in pictures.skipped:
        print(f"note: left out: {message}")
    out = workdir / "predictions" / pictures.name
    out.mkdir(parents=True, exist_ok=True)
    with lock.alone(out / lock.NAME):
        predictions = predictor.predict(pictures)
        columns.write(out / "predictions.csv", columns.predicted(pictures, predictions, predictor.facts))
    print(f"{len(pictures)} pictures; predictions.csv lies in {out}")


@contextmanager
def _folder(workdir: Path, data: str, config: Config, given: Mapping[str, Any]) -> Iterator[Path]:
    """Where an evaluation is written, locked; beside a training that runs in the workdir, not into it."""
    folder = workdirs.evaluation_folder(workdir, data, config, given)
    with ExitStack() as locks:
        if folder == workdir:
            try:
                locks.enter_context(lock.alone(workdir / lock.NAME))
            except LockError as error:
                print(f"note: {error}; meanwhile the evaluation is written beside")
                folder = workdirs.folder_beside(workdir, data, config)
        if folder != workdir:
            folder.mkdir(parents=True, exist_ok=True)
            locks.enter_context(lock.alone(folder / lock.NAME))
        yield folder


def latest_step(workdir: Path) -> int | None:
    """The last step that was saved."""
    return Checkpoints(workdir / "checkpoints", read_only=True).latest_step()
