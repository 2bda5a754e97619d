"""python -m mtp.main --config=configs/x.py --workdir=runs/x: train, evaluate the test split, print the table.

Running it again goes on where it was, or prints the table of a finished run. With --mode=evaluate a finished
workdir's checkpoint is evaluated, also on other pictures: --config.data.dir=OTHER --config.eval.split=all. With
--mode=predict --images=FOLDER it predicts pictures that have no votes.
"""

import functools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# jax's C++ side reads it once, when it is imported; its remarks on slow compilation are no news to a user
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from absl import app, flags

from mtp import files, workdirs
from mtp.config import Config, ConfigError, check, configured, flat, get_config, idle, overrides, read_file
from mtp.data import pictures as picture_files
from mtp.data.batches import buckets
from mtp.data.batches.sizes import Shape
from mtp.data.identity import picture_hashes, sha256_of
from mtp.data.load import load
from mtp.data.schema import DataError, Dataset
from mtp.evaluation import plan, results
from mtp.inference import columns
from mtp.inference.predictor import TRAINED, Predictor
from mtp.models.backbones import BACKBONES
from mtp.models.pretrained import WeightsError
from mtp.options import known
from mtp.report import tables
from mtp.runtime import settings
from mtp.runtime.checkpoint import CheckpointError, Checkpoints
from mtp.training import experiment, loop
from mtp.training.experiment import Training
from mtp.workdirs import UsageError

LEFT_BEHIND = ("results.md", "results.json", "predictions.csv", "metrics.jsonl", "checkpoints")
CONFIG = flags.DEFINE_string(
    "config", None, "The experiment's file; without one the defaults. --config.x.y=VALUE sets an option."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of this run; made where it does not exist.", required=True
)
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "predict"],
    "evaluate: only evaluate a finished workdir; predict: pictures without votes.",
)
IMAGES = flags.DEFINE_string("images", None, "predict: folder of the pictures, and of folders of them.")
ALLOW_OVERLAP = flags.DEFINE_bool(
    "allow_overlap", False, "Evaluate on pictures that were trained on all the same."
)


def main(_: Sequence[str], given: Mapping[str, Any]) -> None:
    """given: options of the command line, by dotted name."""
    workdir = Path(WORKDIR.value)
    try:
        if (MODE.value == "predict") != (IMAGES.value is not None):
            raise UsageError("--images=FOLDER goes with --mode=predict, and that needs it")
        trains = MODE.value == "train"
        config = chosen(CONFIG.value, given) if trains else workdirs.stored_config(workdir, given)
        say_idle(config, given)
        settings.configure(config)
        match MODE.value:
            case "train":
                run(config, workdir)
            case "evaluate":
                evaluate_again(config, workdir, given)
            case "predict":
                predict(config, workdir, Path(str(IMAGES.value)))
    except (ConfigError, UsageError, DataError, CheckpointError, WeightsError, loop.TrainingError) as error:
        sys.exit(f"error: {error}")


def chosen(file: str | None, given: Mapping[str, Any]) -> Config:
    """The configuration of an experiment's file and the command line. Errors: ConfigError naming every error."""
    values = {**flat(read_file(Path(file)) if file else get_config()), **given}
    check(values, known())
    return configured(values)


def say_idle(config: Config, given: Mapping[str, Any]) -> None:
    """A line for each option of the command line that has no effect."""
    for note in idle(flat(config), known(), given):
        print(f"note: {note}")


def run(config: Config, workdir: Path) -> None:
    """Train where there is something left to train, evaluate, print."""
    workdir.mkdir(parents=True, exist_ok=True)
    workdirs.claim(config, workdir)
    finished = workdirs.finished(config, workdir)
    if finished:
        show(finished, workdir)
        return
    built = experiment.prepare(config)
    notes = plan.check(built.predictor, built.dataset)
    # before any work on the pictures, since a download may fail
    origin = BACKBONES[config.model.backbone].origin(config.model.weights)
    announce(built, notes)
    trained = picture_hashes(built.dataset, built.dataset.indices("train"))
    refuse_overlap(built.dataset, config, trained)
    if not workdirs.holds_checkpoint(workdir):
        np.save(workdir / TRAINED, trained)
    meta = {
        "steps": built.steps,
        "config": json.loads(config.to_json()),
        "facts": built.facts.to_json(),
        "split_sha256": built.dataset.split_sha256("train"),
        "training_pictures_sha256": sha256_of(trained),
        "versions": results.versions(),
        "weights": origin,
    }
    best = loop.fit(built, workdir, meta)
    if best is None:
        print(f"stopped by SIGTERM; the state is saved. Run the same command to go on ({workdir}).")
        return
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    variables, _ = checkpoints.restore_model(built.abstract_state.parts()[0], best)
    checkpoints.close()
    predictor = built.predictor.with_variables(variables)
    report(
        predictor,
        best,
        built.dataset,
        workdir,
        origin,
        notes,
        finished=True,
        canvases=built.evaluation_canvases,
    )


def evaluate_again(config: Config, workdir: Path, given: Mapping[str, Any]) -> None:
    """A workdir's best checkpoint over a split, possibly of another data set."""
    predictor, dataset = Predictor.load(workdir, config=config), load(config.data)
    if dataset.ratings != predictor.facts.ratings:
        raise UsageError(
            f"the checkpoint predicts {predictor.facts.ratings} ratings, but {dataset.name} has votes on "
            f"{dataset.ratings}; evaluate it on data with the same scale"
        )
    notes = plan.check(predictor, dataset)
    refuse_overlap(dataset, config, predictor.trained)
    latest, steps = latest_step(workdir), predictor.meta["steps"]
    if latest != steps:
        print(f"note: training has not reached its end, step {latest} of {steps}")
    for message in notes:
        print(f"note: {message}")
    folder = workdirs.evaluation_folder(workdir, dataset.name, config, given)
    folder.mkdir(parents=True, exist_ok=True)
    canvases = plan.canvases(predictor, dataset)
    origin, finished = predictor.meta["weights"], latest == steps
    report(predictor, predictor.step, dataset, folder, origin, notes, finished=finished, canvases=canvases)


def latest_step(workdir: Path) -> int | None:
    """The last step that was saved."""
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    try:
        return checkpoints.latest_step()
    finally:
        checkpoints.close()


def predict(config: Config, workdir: Path, folder: Path) -> None:
    """predictions.csv of every picture in and below a folder, by a workdir's best checkpoint."""
    predictor = Predictor.load(workdir, config=config)
    pictures = picture_files.of_folder(folder, config.data.max_decode_pixels)
    for message in pictures.skipped:
        print(f"note: left out: {message}")
    predictions = predictor.predict(pictures)
    out = workdir / "predictions" / pictures.name
    out.mkdir(parents=True, exist_ok=True)
    columns.write(out / "predictions.csv", columns.predicted(pictures, predictions, predictor.facts))
    print(f"{len(pictures)} pictures; predictions.csv lies in {out}")


def refuse_overlap(dataset: Dataset, config: Config, trained: np.ndarray) -> None:
    """Errors: UsageError where files to evaluate are among those to train on; trained: their `picture_hashes`."""
    shared = np.intersect1d(picture_hashes(dataset, dataset.indices(config.eval.split)), trained)
    if len(shared) and not ALLOW_OVERLAP.value:
        raise UsageError(
            f"{len(shared)} pictures of the split {config.eval.split} of {dataset.name} are among those trained on; "
            "choose another split, leave copies out (python -m mtp.data.doctor --fix), or insist with --allow_overlap"
        )


def announce(built: Training, notes: Sequence[str]) -> None:
    """What is about to run, in a few lines."""
    d, c = built.dataset, built.config
    counts = ", ".join(f"{len(d.indices(s))} {s}" for s in ("train", "validation", "test"))
    print(
        f"{d.name}: {len(d)} pictures ({counts}), ratings 1..{d.ratings}, {len(built.facts.style_names)} styles"
    )
    for message in (*d.skipped, *notes):
        print(f"note: {message}")
    if c.input.order == "buckets":
        middle, high = buckets.distortion(d.sizes[d.indices("train")], c.input.sizes)
        print(
            f"training warps aspect ratios by a factor of {middle:.3f} (median), {high:.3f} (95th percentile)"
        )
    print(
        f"{built.steps} steps of {c.input.batch_size} pictures, {len(built.plan.shapes)} programs to compile",
        flush=True,
    )


def report(
    predictor: Predictor,
    step: int,
    dataset: Dataset,
    folder: Path,
    origin: Mapping[str, Any],
    notes: Sequence[str],
    *,
    finished: bool,
    canvases: Mapping[Shape, int],
) -> None:
    """Evaluate a checkpoint, write predictions and results, print the table and where all lies."""
    config, facts = predictor.config, predictor.facts
    indices, more = dataset.indices(config.eval.split), plan.elsewhere(dataset, config.eval.split)
    contents = []
    for rule, suffix in workdirs.suffixes(config).items():
        predicted = functools.partial(predictor.predict, dataset, rule=rule, canvases=canvases)
        predictions = predicted(indices)
        content = results.assemble(
            dataset, predictions, facts, config, elsewhere=predicted(more) if len(more) else None,
            split=config.eval.split, size_rule=rule, step=step, finished=finished, origin=origin, notes=notes,
        )  # fmt: skip
        columns.write(
            folder / f"predictions{suffix}.csv", results.prediction_columns(dataset, predictions, facts)
        )
        files.write_text(folder / f"results{suffix}.md", tables.markdown(content))
        files.write_json(folder / f"results{suffix}.json", content)
        contents.append(content)
    show(contents, folder)


def show(contents: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Print the tables, and where everything lies."""
    for content in contents:
        print("\n" + tables.terminal(content))
    names = [name for name in LEFT_BEHIND if (folder / name).exists()]
    print(f"\n{', '.join(names[:-1])} and {names[-1]} lie in {folder}")


if __name__ == "__main__":
    arguments, options = overrides.split(sys.argv[1:])
    app.run(functools.partial(main, given=options), [sys.argv[0], *arguments])
