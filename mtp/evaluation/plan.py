"""Which pictures of a data set an evaluation looks at, under which size rules and on which canvases."""

import numpy as np

from mtp.config import Config, ConfigError
from mtp.data.batches.sizes import Shape
from mtp.data.schema import DataError, Dataset
from mtp.inference.predictor import Predictor


def size_rules(config: Config) -> tuple[str, ...]:
    """eval.size, and eval.also_size where it is another one."""
    return tuple(dict.fromkeys(filter(None, (config.eval.size, config.eval.also_size))))


def check(predictor: Predictor, dataset: Dataset) -> tuple[str, ...]:
    """What can be said of evaluations before there is a trained network: how many pictures eval.too_large shrinks.

    Errors: DataError where the split to evaluate is empty, or a picture of it or of validation is too large;
    ConfigError where the data has no column eval.by.
    """
    e, indices = predictor.config.eval, dataset.indices(predictor.config.eval.split)
    if not len(indices):
        raise DataError(f"the split {e.split} of {dataset.name} is empty; choose another with eval.split")
    if e.by and e.by not in dataset.metadata:
        there = ", ".join(dataset.metadata) or "none"
        raise ConfigError(f"eval.by must be a metadata column of {dataset.name} ({there}), not {e.by!r}")
    rows, notes = np.union1d(dataset.indices("validation"), indices), []
    for rule in size_rules(predictor.config):
        wanted = predictor.view(rule).sizes(dataset.sizes[rows])
        shrunk = int(np.any(wanted != predictor.sizes(dataset, rows, rule), axis=1).sum())
        if shrunk:
            notes.append(
                f"{shrunk} pictures are shrunk to eval.max_pixels = {e.max_pixels} (eval.size {rule})"
            )
    return tuple(notes)


def canvases(predictor: Predictor, dataset: Dataset) -> dict[Shape, int]:
    """Canvas shapes and pictures a batch for the validation split and the one to evaluate, under all size rules."""
    splits = dict.fromkeys(("validation", predictor.config.eval.split))
    rows = [dataset.indices(split) for split in splits]
    if dataset.style_tests is not None:
        rows.append(np.flatnonzero(~np.isnan(dataset.style_tests).any(axis=1)))
    return predictor.canvases([(dataset, r, rule) for r in rows for rule in size_rules(predictor.config)])


def elsewhere(dataset: Dataset, split: str) -> np.ndarray:
    """Positions of pictures with a style to be tested on that lie outside the test split, where that is evaluated."""
    if dataset.style_tests is None or split != "test":
        return np.zeros(0, np.int64)
    listed = np.flatnonzero(~np.isnan(dataset.style_tests).any(axis=1))
    return np.setdiff1d(listed, dataset.indices(split))
