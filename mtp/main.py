"""python -m mtp.main --config=configs/x.py --workdir=runs/x: train, evaluate the test split, print the table.

Running it again goes on where it was, or prints the table of a finished run. With --mode=evaluate a finished
workdir's checkpoint is evaluated, also on other pictures: --config.data.dir=OTHER --config.eval.split=all.
"""

import difflib
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from mtp import evaluate, experiment, results, train
from mtp.checkpoint import CheckpointError, Checkpoints
from mtp.config import CACHE, get_config
from mtp.data.load import load
from mtp.data.schema import DataError, Dataset
from mtp.evaluate import Facts
from mtp.experiment import Experiment, Training
from mtp.models import pretrained
from mtp.models.pretrained import WeightsError
from mtp.report import tables

CONFIG = config_flags.DEFINE_config_file(
    "config", str(Path(__file__).with_name("config.py")), "The experiment's file."
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

# what may differ between a workdir's runs: it does not change what is learnt
FREE = ("log.", "eval.", "run.", "input.threads", "input.ahead", "train.compile_in_parallel")
EVALUATION = ("data.", "eval.", "log.", "run.", "input.threads", "input.ahead")


class UsageError(ValueError):
    """The command line asks for something that cannot be done; the message says what can."""


def check_options(arguments: Sequence[str]) -> None:
    """Errors: UsageError on an option that does not exist, naming the nearest one."""
    known = flat(get_config())
    for argument in arguments:
        name = argument.lstrip("-").split("=")[0].split(" ")[0]
        option = name.removeprefix("config.")
        if not argument.startswith("--config.") or option.split("[")[0] in known:
            continue
        near = difflib.get_close_matches(option, known, 1, 0.0)
        raise UsageError(f"there is no option --{name}; the nearest is --config.{near[0]}")


def flat(config: ConfigDict) -> dict[str, Any]:
    """All options by dotted name, as JSON would hold them."""
    values = json.loads(config.to_json())
    return {
        f"{section}.{name}" if isinstance(inside, dict) else section: value
        for section, inside in values.items()
        for name, value in (inside.items() if isinstance(inside, dict) else ((section, inside),))
    }


def main(_: Sequence[str]) -> None:
    workdir = Path(WORKDIR.value)
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    try:
        if MODE.value == "train":
            configure(CONFIG.value)
            run(CONFIG.value, workdir)
        else:
            config = stored_config(workdir, overrides)
            configure(config)
            evaluate_again(config, workdir, overrides)
    except (UsageError, DataError, CheckpointError, WeightsError, train.TrainingError) as error:
        sys.exit(f"error: {error}")


def configure(config: ConfigDict) -> None:
    """jax's own settings: where compiled programs are kept."""
    cache = config.run.compile_cache or str(CACHE / "xla")
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def run(config: ConfigDict, workdir: Path) -> None:
    """Train where there is something left to train, evaluate, print."""
    workdir.mkdir(parents=True, exist_ok=True)
    claim(config, workdir)
    finished = read_json(workdir / "results.json")
    if finished and flat_section(finished["config"], "eval") == flat_section(
        json.loads(config.to_json()), "eval"
    ):
        print(tables.terminal(finished))
        return
    built = experiment.prepare(config)
    announce(built)
    pictures = training_pictures(built.dataset)
    np.save(workdir / "training_pictures.npy", pictures)
    origin = pretrained.origin(config.model.weights, config.model.backbone)
    meta = {
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
    report(built, config, workdir, workdir, best, origin)


def claim(config: ConfigDict, workdir: Path) -> None:
    """Write config.json, or compare with the one that is there.

    Errors: UsageError where the workdir belongs to another configuration, naming the differing options.
    """
    path = workdir / "config.json"
    stored = read_json(path)
    here = flat(config)
    if stored:
        there = flat(ConfigDict(stored))
        differ = [
            name
            for name in sorted({*here, *there})
            if here.get(name) != there.get(name) and not name.startswith(FREE)
        ]
        if differ:
            lines = [f"  {n}: there {there.get(n)!r}, now {here.get(n)!r}" for n in differ]
            raise UsageError(
                f"{workdir} holds a run of another configuration; choose another --workdir. They differ in\n"
                + "\n".join(lines)
            )
    results.write_json(path, json.loads(config.to_json()))


def stored_config(workdir: Path, overrides: Mapping[str, Any]) -> ConfigDict:
    """The configuration that a workdir was trained with, and the overrides that evaluation allows."""
    stored = read_json(workdir / "config.json")
    if not stored:
        raise UsageError(f"{workdir} must be a finished workdir; it has no config.json")
    fixed = [name for name in overrides if not name.startswith(EVALUATION)]
    if fixed:
        raise UsageError(
            f"--mode=evaluate takes options of data, eval and log only; {', '.join(fixed)} belong to training"
        )
    config = get_config()
    for name, value in {**flat(ConfigDict(stored)), **overrides}.items():
        # JSON has lists where the configuration has tuples
        config.update_from_flattened_dict({name: _tupled(value)})
    return config


def _tupled(value: Any) -> Any:
    return tuple(_tupled(v) for v in value) if isinstance(value, list) else value


def evaluate_again(config: ConfigDict, workdir: Path, overrides: Mapping[str, Any]) -> None:
    """A finished workdir's best checkpoint over a split, possibly of another data set."""
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    best = checkpoints.best_step()
    meta = checkpoints.meta(best)
    checkpoints.close()
    dataset, facts = load(config.data, config.seed), Facts.from_json(meta["facts"])
    if dataset.ratings != facts.ratings:
        raise UsageError(
            f"the checkpoint predicts {facts.ratings} ratings, but {dataset.name} has votes on {dataset.ratings}; "
            "evaluate it on data with the same scale"
        )
    refuse_overlap(dataset, config, workdir)
    built = experiment.prepare_evaluation(config, dataset, facts)
    other = any(name.startswith("data.") for name in overrides)
    folder = workdir / "evaluations" / f"{dataset.name}-{config.eval.split}" if other else workdir
    folder.mkdir(parents=True, exist_ok=True)
    report(built, config, workdir, folder, best, meta["weights"])


def refuse_overlap(dataset: Dataset, config: ConfigDict, workdir: Path) -> None:
    """Errors: UsageError where pictures to evaluate were trained on, by the bytes of their files."""
    trained = np.load(workdir / "training_pictures.npy")
    shared = np.intersect1d(picture_hashes(dataset, dataset.indices(config.eval.split)), trained)
    if len(shared) and not ALLOW_OVERLAP.value:
        raise UsageError(
            f"{len(shared)} pictures of the split {config.eval.split} of {dataset.name} were trained on; choose "
            "another split, or insist with --allow_overlap"
        )


def training_pictures(dataset: Dataset) -> np.ndarray:
    """Sorted 64-bit hashes of the training pictures' bytes."""
    return picture_hashes(dataset, dataset.indices("train"))


def picture_hashes(dataset: Dataset, indices: np.ndarray) -> np.ndarray:
    """Sorted, distinct; the first 64 bits of SHA-256."""
    digests = [hashlib.sha256(dataset.read(int(i))).digest()[:8] for i in indices]
    return np.unique(np.frombuffer(b"".join(digests), np.uint64))


def announce(built: Training) -> None:
    """What is about to run, in three lines."""
    d, c = built.dataset, built.config
    counts = ", ".join(f"{len(d.indices(s))} {s}" for s in ("train", "validation", "test"))
    print(
        f"{d.name}: {len(d)} pictures ({counts}), ratings 1..{d.ratings}, {len(built.facts.style_names)} styles"
    )
    for message in d.skipped:
        print(f"skipped {message}")
    print(
        f"{built.steps} steps of {c.input.batch_size} pictures, {len(built.plan.shapes)} programs to compile",
        flush=True,
    )


def report(
    built: Experiment,
    config: ConfigDict,
    workdir: Path,
    folder: Path,
    best: int | None,
    origin: Mapping[str, Any],
) -> None:
    """Evaluate the best checkpoint, write predictions and results, print the table and where all lies."""
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    state, _ = checkpoints.restore(experiment.abstract_state(built), best)
    checkpoints.close()
    indices = built.dataset.indices(config.eval.split)
    if not len(indices):
        raise UsageError(f"the split {config.eval.split} of {built.dataset.name} is empty; choose another")
    for rule in filter(None, (config.eval.size, config.eval.also_size)):
        predictions = evaluate.predict(
            built.predict, state.evaluation_variables(), built.dataset, indices, config, built.mesh, rule
        )
        content = results.assemble(
            built.dataset, predictions, built.facts, config,
            split=config.eval.split, size_rule=rule, step=int(state.step), origin=origin,
        )  # fmt: skip
        suffix = "" if rule == config.eval.size else f"-{rule.replace('=', '')}"
        results.write_predictions(
            folder / f"predictions{suffix}.csv", built.dataset, predictions, built.facts
        )
        (folder / f"results{suffix}.md").write_text(tables.markdown(content))
        results.write_json(folder / f"results{suffix}.json", content)
        print("\n" + tables.terminal(content))
    print(f"\nresults.md, results.json, predictions.csv, metrics.jsonl and checkpoints lie in {folder}")


def read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def flat_section(config: Mapping[str, Any], section: str) -> Any:
    return config[section]


if __name__ == "__main__":
    try:
        check_options(sys.argv[1:])
    except UsageError as error:
        sys.exit(f"error: {error}")
    app.run(main)
