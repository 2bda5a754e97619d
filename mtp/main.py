"""python -m mtp.main --config=configs/x.py --workdir=runs/x: train, evaluate the test split, print the table.

Running it again goes on where it was, or prints the table of a finished run. With --mode=evaluate a finished
workdir's checkpoint is evaluated, also on other pictures: --config.data.dir=OTHER --config.eval.split=all.
"""

import functools
import hashlib
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
from mtp.data.batches import buckets
from mtp.data.identity import picture_hashes
from mtp.data.load import load
from mtp.data.schema import DataError, Dataset
from mtp.evaluation import breakdown, results
from mtp.evaluation import rows as evaluate
from mtp.evaluation.rows import Facts
from mtp.models import pretrained
from mtp.models.pretrained import WeightsError
from mtp.options import known
from mtp.report import tables
from mtp.runtime import settings
from mtp.runtime.checkpoint import CheckpointError, Checkpoints
from mtp.training import experiment
from mtp.training import loop as train
from mtp.training.experiment import Experiment, Training
from mtp.workdirs import UsageError

LEFT_BEHIND = ("results.md", "results.json", "predictions.csv", "metrics.jsonl", "checkpoints")
CONFIG = flags.DEFINE_string(
    "config", None, "The experiment's file; without one the defaults. --config.x.y=VALUE sets an option."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of this run; made where it does not exist.", required=True
)
MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "evaluate"], "evaluate: only evaluate a finished workdir."
)
ALLOW_OVERLAP = flags.DEFINE_bool(
    "allow_overlap", False, "Evaluate on pictures that were trained on all the same."
)


def main(_: Sequence[str], given: Mapping[str, Any]) -> None:
    """given: options of the command line, by dotted name."""
    workdir = Path(WORKDIR.value)
    try:
        if MODE.value == "train":
            config = chosen(CONFIG.value, given)
            say_idle(config, given)
            settings.configure(config)
            run(config, workdir)
        else:
            config = workdirs.stored_config(workdir, given)
            say_idle(config, given)
            settings.configure(config)
            evaluate_again(config, workdir, given)
    except (ConfigError, UsageError, DataError, CheckpointError, WeightsError, train.TrainingError) as error:
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
    notes = evaluate.check(built.dataset, config)
    # before any work on the pictures, since a download may fail
    origin = pretrained.origin(config.model.weights, config.model.backbone)
    announce(built, notes)
    pictures = picture_hashes(built.dataset, built.dataset.indices("train"))
    refuse_overlap(built.dataset, config, pictures)
    if not workdirs.holds_checkpoint(workdir):
        np.save(workdir / workdirs.TRAINED, pictures)
    meta = {
        "steps": built.steps,
        "config": json.loads(config.to_json()),
        "facts": built.facts.to_json(),
        "split_sha256": built.dataset.split_sha256("train"),
        "training_pictures_sha256": hashlib.sha256(pictures.tobytes()).hexdigest(),
        "versions": results.versions(),
        "weights": origin,
    }
    best = train.fit(built, workdir, meta)
    if best is None:
        print(f"stopped by SIGTERM; the state is saved. Run the same command to go on ({workdir}).")
        return
    report(built, workdir, workdir, best, origin, notes, finished=True)


def evaluate_again(config: Config, workdir: Path, overrides: Mapping[str, Any]) -> None:
    """A workdir's best checkpoint over a split, possibly of another data set."""
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    best, latest = checkpoints.best_step(), checkpoints.latest_step()
    meta = checkpoints.meta(best)
    checkpoints.close()
    finished = latest == meta.get("steps", latest)  # workdirs from before it was kept were
    dataset, facts = load(config.data), Facts.from_json(meta["facts"])
    if dataset.ratings != facts.ratings:
        raise UsageError(
            f"the checkpoint predicts {facts.ratings} ratings, but {dataset.name} has votes on {dataset.ratings}; "
            "evaluate it on data with the same scale"
        )
    notes = evaluate.check(dataset, config)
    refuse_overlap(dataset, config, np.load(workdir / workdirs.TRAINED))
    if not finished:
        print(f"note: training has not reached its end, step {latest} of {meta['steps']}")
    for message in notes:
        print(f"note: {message}")
    built = experiment.prepare_evaluation(config, dataset, facts)
    folder = workdirs.evaluation_folder(workdir, dataset.name, config, overrides)
    folder.mkdir(parents=True, exist_ok=True)
    report(built, workdir, folder, best, meta["weights"], notes, finished=finished)


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
    built: Experiment,
    workdir: Path,
    folder: Path,
    best: int | None,
    origin: Mapping[str, Any],
    notes: Sequence[str],
    *,
    finished: bool,
) -> None:
    """Evaluate the best checkpoint, write predictions and results, print the table and where all lies."""
    config = built.config
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    state, _ = checkpoints.restore(experiment.abstract_state(built), best)
    checkpoints.close()
    indices = built.dataset.indices(config.eval.split)
    contents = []
    for rule, suffix in workdirs.suffixes(config).items():
        predictions = built.predict(state.evaluation_variables(), indices, rule)
        more = breakdown.elsewhere(built.dataset, config.eval.split)
        elsewhere = built.predict(state.evaluation_variables(), more, rule) if len(more) else None
        content = results.assemble(
            built.dataset, predictions, built.facts, config, elsewhere=elsewhere,
            split=config.eval.split, size_rule=rule, step=int(state.step), finished=finished, origin=origin,
            notes=notes,
        )  # fmt: skip
        predicted = folder / f"predictions{suffix}.csv"
        results.write_predictions(predicted, built.dataset, predictions, built.facts)
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
