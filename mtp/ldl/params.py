"""What a fit leaves behind: arrays, options and how it converged; one file format for all learners."""

import dataclasses
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtp import files

FORMAT = 1  # of the files; raised when old ones can no longer be read


class LdlError(ValueError):
    """Features, labels or options that cannot be; the message says what must hold, what came and how to fix it."""


class ConvergenceWarning(UserWarning):
    """A solver stopped before its stopping rule was met; the message says how far it came."""


@dataclasses.dataclass(frozen=True)
class Convergence:
    """objective: its value at the start and after each iteration; reason: why the solver stopped."""

    objective: tuple[float, ...]
    converged: bool
    reason: str

    @property
    def iterations(self) -> int:
        return max(len(self.objective) - 1, 0)


NO_SOLVER = Convergence((), True, "nothing is solved")


@dataclasses.dataclass(frozen=True)
class Params:
    """A fitted learner.

    learner: its name in `mtp.ldl.learners.LEARNERS`; arrays: what prediction reads; options: all arguments of the
    fit that are no arrays, as JSON has them; convergence: the solver's record.
    """

    learner: str
    arrays: Mapping[str, np.ndarray]
    options: Mapping[str, Any]
    convergence: Convergence


def fitted(
    learner: str, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any], convergence: Convergence
) -> Params:
    """The parameters; warns where the solver did not converge."""
    if not convergence.converged:
        values = convergence.objective
        last = (
            f"; the last step changed the objective {values[-2]:.9g} -> {values[-1]:.9g}"
            if values[1:]
            else ""
        )
        warnings.warn(
            f"{learner} has not converged after {convergence.iterations} iterations: {convergence.reason}{last}. "
            "Its predictions are usable, but another number of iterations would give others.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return Params(learner, dict(arrays), dict(options), convergence)


def save(path: str | Path, params: Params) -> None:
    """One .npz: the arrays as they are, all else as JSON."""
    meta = {
        "format": FORMAT,
        "learner": params.learner,
        "options": params.options,
        "convergence": dataclasses.asdict(params.convergence),
    }
    files.write_arrays(Path(path), {"meta": np.array(json.dumps(meta)), **params.arrays})


def load(path: str | Path) -> Params:
    """What `save` wrote. Errors: LdlError where the file is another one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop("meta")))
        number, record = meta["format"], meta["convergence"]
        convergence = Convergence(tuple(record["objective"]), record["converged"], record["reason"])
        found = Params(meta["learner"], arrays, meta["options"], convergence)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise LdlError(
            f"{path} must be a file of mtp.ldl.params.save; it cannot be read as one: {error}"
        ) from error
    if number != FORMAT:
        raise LdlError(f"{path} has format {number}, this version reads {FORMAT}; fit again")
    return found


def objective_fell(values: Sequence[float], tolerance: float) -> bool:
    """Whether the last step changed the objective by at most `tolerance` of its value."""
    return abs(values[-2] - values[-1]) <= tolerance * max(abs(values[-1]), np.finfo(float).tiny)
