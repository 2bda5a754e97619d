"""Train where there is something left to train, evaluate the best checkpoint, print the table."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from mtp import files, native, workdirs
from mtp.commands.overlap import refuse_overlap
from mtp.commands.report import report, show
from mtp.config import Config
from mtp.data.batches import buckets
from mtp.data.identity import labels_sha256, picture_hashes, sha256_of
from mtp.evaluation import plan, results
from mtp.inference.predictor import TRAINED
from mtp.models import trunks
from mtp.processes import lock
from mtp.processes.signals import Stop
from mtp.runtime.checkpoint import CheckpointError, Checkpoints
from mtp.training import experiment, feature_fit, loop
from mtp.training.experiment import Training


def train(config: Config, workdir: Path, stop: Stop, *, allow_overlap: bool) -> None:
    """A finished run's table is printed without writing anything. Errors: LockError while another process trains."""
    workdirs.compare(config, workdir)
    finished = workdirs.finished(config, workdir)
    if finished:
        show(finished, workdir)
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with lock.alone(workdir / lock.NAME):
        _train(config, workdir, stop, allow_overlap)


def _train(config: Config, workdir: Path, stop: Stop, allow_overlap: bool) -> None:
    config = native.resolved(workdirs.as_begun(config, workdir))
    built = experiment.prepare(config)
    notes = plan.check(built.predictor, built.dataset)
    # before any work on the pictures, since a download may fail
    origin = trunks.origin(config.model)
    announce(built, notes)
    trained = picture_hashes(built.dataset, built.dataset.indices("train"))
    refuse_overlap(built.dataset, config, trained, allowed=allow_overlap)
    meta = _meta(built, sha256_of(trained), origin)
    with closing(Checkpoints(workdir / "checkpoints")) as checkpoints:
        stop.last = lambda: _saved(checkpoints, workdir)
        loop.refuse_other_data(checkpoints, meta)
        workdirs.claim(config, workdir)
        files.write_array(workdir / TRAINED, trained)
        train_by = feature_fit.fit if config.train.method == "features" else loop.fit
        best = train_by(built, checkpoints, workdir, meta, stop)
        variables, _ = checkpoints.restore_model(built.abstract_state.parts()[0], best)
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


def _meta(built: Training, trained: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says beside its arrays; trained: SHA-256 of the training pictures."""
    dataset = built.dataset
    learnt_from = np.union1d(dataset.indices("train"), dataset.indices("validation"))
    return {
        "steps": built.steps,
        "config": json.loads(built.config.to_json()),
        "facts": built.facts.to_json(),
        "split_sha256": dataset.split_sha256("train"),
        "training_pictures_sha256": trained,
        "labels_sha256": labels_sha256(dataset, learnt_from),
        "versions": results.versions(),
        "weights": origin,
    }


def _saved(checkpoints: Checkpoints, workdir: Path) -> str:
    """What is said of a training that is ended by a signal."""
    try:
        step = checkpoints.latest_step()
    except CheckpointError as error:
        return str(error)
    state = "nothing was saved yet" if step is None else f"the state of step {step} is saved"
    return f"{state}. Run the same command to go on ({workdir})"


def announce(built: Training, notes: Sequence[str]) -> None:
    """What is about to run, in a few lines."""
    d, c = built.dataset, built.config
    counts = ", ".join(f"{len(d.indices(s))} {s}" for s in ("train", "validation", "test"))
    print(
        f"{d.name}: {len(d)} pictures ({counts}), ratings 1..{d.ratings}, {len(built.facts.style_names)} styles"
    )
    for message in (*d.skipped, *notes):
        print(f"note: {message}")
    path = {"on": " on the native kernels", "off": " on the plain path"}.get(c.run.native, "")
    if c.train.method == "features":
        print(
            f"the last layers are fitted to features of the trunk{path}, with the validation split's pictures in the "
            "training split",
            flush=True,
        )
        return
    if c.input.order == "buckets" and c.input.fit == "warp":
        middle, high = buckets.distortion(d.sizes[d.indices("train")], c.input.sizes)
        print(
            f"training warps aspect ratios by a factor of {middle:.3f} (median), {high:.3f} (95th percentile)"
        )
    print(
        f"{built.steps} steps of {c.input.batch_size} pictures{path}, {len(built.plan.shapes)} programs to compile",
        flush=True,
    )
