"""Features of a frozen backbone, for Table 1's learners.

    python -m experiments.tables.features --data=demo --backbone=runs/demo --out=runs/table1/demo/features.npz
    python -m experiments.tables.features --data=FOLDER --group=theme --backbone=imagenet --out=FILE

--data: demo, a folder with votes.csv, or ava:DATA_DIR (what python -m mtp.data.ava built). --backbone: a finished
workdir (its best checkpoint, at its eval.size), or
imagenet (NASNet-A Mobile's published weights, at native size). The last map's mean over its valid cells, one row a
picture. Pictures go in parts that are kept beside FILE until all are there: started again, it goes on.
"""

import argparse
import functools
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from mtp import files, workdirs
from mtp.config import Config, ConfigError, get_config
from mtp.data import means
from mtp.data.batches.pipeline import evaluation_batches
from mtp.data.identity import picture_hashes
from mtp.data.load import load
from mtp.data.schema import DataError, Dataset
from mtp.evaluation import rows as evaluate
from mtp.evaluation.rows import Facts
from mtp.files import write_json
from mtp.models import pretrained
from mtp.models.nasnet import NASNET_A, NASNet
from mtp.models.pretrained import WeightsError
from mtp.ops.canvas import to_float
from mtp.ops.pyramid import global_average
from mtp.runtime import settings
from mtp.runtime.checkpoint import CheckpointError, Checkpoints
from mtp.runtime.mesh import data_mesh, put_batch
from mtp.runtime.settings import compiler_options
from mtp.training import experiment
from mtp.workdirs import UsageError

PART = 1024  # pictures saved at a time
ERRORS = (ConfigError, UsageError, DataError, CheckpointError, WeightsError)


class Backbone(NamedTuple):
    """config: the experiment's, its data and eval.size included; variables: params and batch_stats of one trunk."""

    name: str
    config: Config
    variables: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Of all its arrays."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(self.variables):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()


class Features(NamedTuple):
    """What a features file holds. values: (N, C) float32; the rest as in `Dataset`; about: whence it all is."""

    values: np.ndarray
    images: np.ndarray
    votes: np.ndarray
    splits: np.ndarray
    groups: np.ndarray
    about: dict[str, Any]

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.splits == split)


def data_options(data: str, group: str) -> dict[str, Any]:
    """--data and --group as options of the configuration."""
    if data == "demo":
        return {"data.name": "demo", "data.dir": "", "data.group": "group"}
    if data.startswith("ava:"):
        return {"data.name": "ava", "data.dir": data.removeprefix("ava:"), "data.group": group}
    return {"data.name": "votes", "data.dir": data, "data.group": group}


def imagenet(weights: str, options: Mapping[str, Any]) -> Backbone:
    """NASNet-A Mobile with published weights: "imagenet" or a Keras .h5 file."""
    config = get_config()
    config.update_from_flattened_dict({**options, "model.weights": weights, "eval.split": "all"})
    settings.configure(config)
    path = pretrained.locate(weights, "mobile")
    arrays = jax.ShapeDtypeStruct((1, 63, 63, 3), jnp.float32), jax.ShapeDtypeStruct((1, 2), jnp.int32)
    shapes = jax.eval_shape(NASNet(NASNET_A["mobile"]).init, jax.random.key(0), *arrays)
    loaded = pretrained.read(path, "mobile", shapes)
    return Backbone(weights, config, {"params": loaded.params, "batch_stats": loaded.batch_stats})


def of_workdir(workdir: Path, options: Mapping[str, Any], dataset: Dataset | None = None) -> Backbone:
    """The best checkpoint's trunk. Errors: UsageError where it was trained on this data's test pictures."""
    config = workdirs.stored_config(workdir, {**options, "eval.split": "all"})
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    try:
        best = checkpoints.best_step()
        facts = Facts.from_json(checkpoints.meta(best)["facts"])
        dataset = dataset or load(config.data)
        trained = np.load(workdir / workdirs.TRAINED)
        shared = np.intersect1d(picture_hashes(dataset, dataset.indices("test")), trained)
        if len(shared):
            raise UsageError(
                f"{len(shared)} test pictures of {dataset.name} trained the backbone in {workdir}; take a workdir "
                "that was trained on the same split, or on other pictures"
            )
        built = experiment.prepare_evaluation(config, dataset, facts)
        state, _ = checkpoints.restore(experiment.abstract_state(built), best)
    finally:
        checkpoints.close()
    return Backbone(f"{workdir.name}, step {best}", config, _trunk(state.evaluation_variables()))


def _trunk(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: variables[kind]["backbone"] for kind in ("params", "batch_stats")}


def extract(backbone: Backbone, dataset: Dataset, out: Path) -> Features:
    """Features of every picture of the data set; the file where it is there and of the same data and weights."""
    means.refuse(dataset, "a table of label-distribution learners")
    config = backbone.config
    about = {
        "data": dataset.name,
        "data_options": json.loads(config.data.to_json()),
        "pictures": len(dataset),
        "split_sha256": {s: dataset.split_sha256(s) for s in ("train", "validation", "test")},
        "votes_sha256": hashlib.sha256(np.ascontiguousarray(dataset.votes).tobytes()).hexdigest(),
        "backbone": backbone.name,
        "backbone_sha256": backbone.sha256,
        "eval_size": config.eval.size,
    }
    if out.exists():
        found = read(out)
        if found.about == about:
            return found
        raise UsageError(f"{out} holds features of other data or weights; choose another --out or remove it")
    parts = _open_parts(out, about)
    compute = _compute(backbone, dataset)
    chunks = np.array_split(np.arange(len(dataset)), -(-len(dataset) // PART))
    files = [parts / f"{number:05d}.npy" for number in range(len(chunks))]
    with tqdm(total=len(dataset), desc="features", unit="picture", disable=None) as bar:
        for file, rows in zip(files, chunks, strict=True):
            if not file.exists():
                temporary = file.with_suffix(".tmp")
                with temporary.open("wb") as handle:
                    np.save(handle, compute(rows))
                temporary.replace(file)
            bar.update(len(rows))
    groups = dataset.images if dataset.groups is None else dataset.groups
    result = Features(
        np.concatenate([np.load(file) for file in files]), np.array(dataset.images), dataset.votes,
        np.array(dataset.splits), np.array(groups), about,
    )  # fmt: skip
    _write(out, result)
    shutil.rmtree(parts)
    return result


def _open_parts(out: Path, about: Mapping[str, Any]) -> Path:
    parts = out.with_suffix(".parts")
    parts.mkdir(parents=True, exist_ok=True)
    known = workdirs.read_json(parts / "about.json")
    if known is not None and known != about:
        raise UsageError(f"{parts} holds parts of other data or weights; choose another --out or remove it")
    write_json(parts / "about.json", about)
    return parts


def _compute(backbone: Backbone, dataset: Dataset) -> Any:
    """indices -> features (n, C)."""
    config, mesh = backbone.config, data_mesh(backbone.config.run.devices)
    trunk = NASNet(NASNET_A[config.model.backbone])

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def forward(variables: Any, images: jax.Array, sizes: jax.Array) -> jax.Array:
        features: Any = trunk.apply(variables, to_float(images, sizes), sizes)
        return global_average(*features)

    everyone = np.arange(len(dataset))
    canvases = evaluate.canvases(dataset, config, mesh.size)
    wanted = evaluate.sizes(dataset, everyone, config, config.eval.size)

    def compute(rows: np.ndarray) -> np.ndarray:
        place = {int(index): row for row, index in enumerate(rows)}
        values = np.full((len(rows), NASNET_A[config.model.backbone].features), np.nan, np.float32)
        for indices, batch in evaluation_batches(
            dataset, rows, wanted[rows], canvases, config.data, config.input
        ):
            placed = put_batch({k: batch[k] for k in ("images", "sizes")}, mesh)
            found = np.asarray(forward(backbone.variables, placed["images"], placed["sizes"]))
            real = indices >= 0
            values[[place[int(i)] for i in indices[real]]] = found[real]
        return values

    return compute


def _write(path: Path, features: Features) -> None:
    files.write_arrays(path, {**features._asdict(), "about": np.array(json.dumps(features.about))})


def read(path: Path) -> Features:
    """A features file."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in Features._fields}
    return Features(**{**arrays, "about": json.loads(str(arrays["about"]))})


def prepared(data: str, group: str, backbone: str, out: Path) -> Features:
    """The features that the options name, computed where they are not there yet."""
    options = data_options(data, group)
    out.parent.mkdir(parents=True, exist_ok=True)
    if backbone == "imagenet" or backbone.endswith(".h5"):
        found = imagenet(backbone, options)
        return extract(found, load(found.config.data), out)
    config = workdirs.stored_config(Path(backbone), options)
    settings.configure(config)
    dataset = load(config.data)
    return extract(of_workdir(Path(backbone), options, dataset), dataset, out)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What this script and Table 1's share."""
    parser.add_argument("--data", required=True, help="demo, a folder with votes.csv, or ava:DATA_DIR")
    parser.add_argument("--group", default="group", help="CSV column whose values never cross splits")
    parser.add_argument("--backbone", required=True, help="a finished workdir, imagenet, or a Keras .h5 file")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        features = prepared(given.data, given.group, given.backbone, given.out)
    except ERRORS as error:
        sys.exit(f"error: {error}")
    rows, width = features.values.shape
    print(f"{rows} pictures x {width} features of {features.about['backbone']} in {given.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
