"""Features of a frozen backbone, for Table 1's learners.

    python -m experiments.tables.features --data=demo --backbone=runs/demo --out=runs/table1/demo/features.npz
    python -m experiments.tables.features --data=FOLDER --group=theme --backbone=imagenet --out=FILE

--data: demo, a folder with votes.csv, or ava:DATA_DIR (what python -m mtp.data.ava built). --backbone: a finished
workdir (its best checkpoint, at its eval.size), or published weights at native size: imagenet (NASNet-A Mobile's),
lite0, lite1, lite2, or a Keras .h5 file of Mobile. The last map's mean over its valid cells, one row a picture.
Pictures go in parts that are kept beside FILE until all are there: started again, it goes on.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from mtp import files, native, workdirs
from mtp.config import Config, ConfigError, configured, flat, get_config
from mtp.data import means
from mtp.data.load import load
from mtp.data.schema import DataError, Dataset
from mtp.inference.predictor import Predictor
from mtp.models.efficientnet_lite import LITE
from mtp.models.weights import IMAGENET, WeightsError
from mtp.runtime import settings
from mtp.runtime.checkpoint import CheckpointError
from mtp.workdirs import UsageError

PART = 1024  # pictures saved at a time
ERRORS = (ConfigError, UsageError, DataError, CheckpointError, WeightsError)


class Backbone(NamedTuple):
    """A network, whose first trunk gives the features, and its name in tables."""

    name: str
    predictor: Predictor

    @property
    def sha256(self) -> str:
        """Of all the trunk's arrays."""
        variables, digest = self.predictor.variables, hashlib.sha256()
        for leaf in jax.tree.leaves({kind: variables[kind]["backbone"] for kind in variables}):
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


def published(name: str, config: Config, dataset: Dataset) -> Backbone:
    """A network with published weights, whose head is never asked; name: see `is_published`."""
    backbone, weights = (name, IMAGENET) if name in LITE else ("mobile", name)
    config = configured({
        **flat(config), "model.backbone": backbone, "model.weights": weights, "model.columns": ("gap",),
        "model.tasks": ("distribution",),
    })  # fmt: skip
    return Backbone(name, Predictor.untrained(config, dataset.ratings))


def is_published(name: str) -> bool:
    """Of --backbone: an EfficientNet-Lite's name, "imagenet", or a Keras .h5 file of NASNet-A Mobile."""
    return name in LITE or name == IMAGENET or name.endswith(".h5")


def of_workdir(workdir: Path, config: Config, dataset: Dataset) -> Backbone:
    """The best checkpoint's. Errors: UsageError where it was trained on this data's test pictures."""
    predictor = Predictor.load(workdir, config=config)
    shared = predictor.trained_on(dataset, dataset.indices("test"))
    if shared:
        raise UsageError(
            f"{shared} test pictures of {dataset.name} trained the backbone in {workdir}; take a workdir "
            "that was trained on the same split, or on other pictures"
        )
    return Backbone(f"{workdir.name}, step {predictor.step}", predictor)


def extract(backbone: Backbone, dataset: Dataset, out: Path) -> Features:
    """Features of every picture of the data set; the file where it is there and of the same data and weights."""
    means.refuse(dataset, "a table of label-distribution learners")
    about = _about(backbone, dataset)
    if out.exists():
        found = read(out)
        if found.about == about:
            return found
        raise UsageError(f"{out} holds features of other data or weights; choose another --out or remove it")
    parts = _open_parts(out, about)
    values = _values(backbone.predictor, dataset, parts)
    groups = dataset.images if dataset.groups is None else dataset.groups
    result = Features(
        values, np.array(dataset.images), dataset.votes, np.array(dataset.splits), np.array(groups), about
    )
    _write(out, result)
    shutil.rmtree(parts)
    return result


def _about(backbone: Backbone, dataset: Dataset) -> dict[str, Any]:
    config = backbone.predictor.config
    return {
        "data": dataset.name,
        "data_options": json.loads(config.data.to_json()),
        "pictures": len(dataset),
        "split_sha256": {s: dataset.split_sha256(s) for s in ("train", "validation", "test")},
        "votes_sha256": hashlib.sha256(np.ascontiguousarray(dataset.votes).tobytes()).hexdigest(),
        "backbone": backbone.name,
        "backbone_sha256": backbone.sha256,
        "eval_size": config.eval.size,
    }


def _open_parts(out: Path, about: Mapping[str, Any]) -> Path:
    parts = out.with_suffix(".parts")
    parts.mkdir(parents=True, exist_ok=True)
    known = files.read_json(parts / "about.json")
    if known is not None and known != about:
        raise UsageError(f"{parts} holds parts of other data or weights; choose another --out or remove it")
    files.write_json(parts / "about.json", about)
    return parts


def _values(predictor: Predictor, dataset: Dataset, parts: Path) -> np.ndarray:
    """(N, C) the features of every picture, each part kept in a file as it is done."""
    everyone = np.arange(len(dataset))
    # one choice for all parts, or each would compile programs of its own
    canvases = predictor.canvases([(dataset, everyone, "")])
    chunks = np.array_split(everyone, -(-len(dataset) // PART))
    paths = [parts / f"{number:05d}.npy" for number in range(len(chunks))]
    with tqdm(total=len(dataset), desc="features", unit="picture", disable=None) as bar:
        for path, rows in zip(paths, chunks, strict=True):
            if not path.exists():
                values = predictor.features(dataset, rows, canvases=canvases)
                with files.replacing(path) as temporary, temporary.open("wb") as file:
                    np.save(file, values)
            bar.update(len(rows))
    return np.concatenate([np.load(path) for path in paths])


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
    weights = is_published(backbone)
    if weights:
        config = configured({**flat(get_config()), **options})
    else:
        config = workdirs.stored_config(Path(backbone), options)
    settings.configure(config)
    config = native.resolved(config)
    dataset = load(config.data)
    found = published(backbone, config, dataset) if weights else of_workdir(Path(backbone), config, dataset)
    return extract(found, dataset, out)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What this script and Table 1's share."""
    parser.add_argument("--data", required=True, help="demo, a folder with votes.csv, or ava:DATA_DIR")
    parser.add_argument("--group", default="group", help="CSV column whose values never cross splits")
    parser.add_argument(
        "--backbone",
        required=True,
        help="a finished workdir, imagenet, lite0, lite1, lite2, or a Keras .h5 file",
    )


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
