"""No picture is evaluated that was trained on."""

import numpy as np

from mtp.config import Config
from mtp.data.identity import picture_hashes
from mtp.data.schema import Dataset
from mtp.workdirs import UsageError


def refuse_overlap(dataset: Dataset, config: Config, trained: np.ndarray, *, allowed: bool) -> None:
    """Errors: UsageError where files to evaluate are among those to train on, and that is not allowed.

    trained: their `picture_hashes`.
    """
    shared = np.intersect1d(picture_hashes(dataset, dataset.indices(config.eval.split)), trained)
    if len(shared) and not allowed:
        raise UsageError(
            f"{len(shared)} pictures of the split {config.eval.split} of {dataset.name} are among those trained on; "
            "choose another split, leave copies out (python -m mtp.data.doctor --fix), or insist with --allow_overlap"
        )
