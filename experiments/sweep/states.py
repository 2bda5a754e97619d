"""What has become of each job, from the disk alone; which results can stand in one table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.sweep import collected, folder, job
from experiments.sweep.collected import Result
from experiments.sweep.plan import Job, SweepError
from mtp.config import Config
from mtp.files import DamagedFileError

STATES = ("done", "running", "failed", "refused", "waiting")
# of `Result.about`: what all results of a table share
SHARED = ("versions", "demo_code", "threshold", "delta", "pkl_floor", "means_only")


class State(NamedTuple):
    """state: one of `STATES`. text: by whom it runs, why it failed or is refused. result: of one that is done."""

    job: Job
    state: str
    text: str = ""
    result: Result | None = None


def states(jobs: Sequence[Job], configs: Sequence[Config], out: Path) -> list[State]:
    """The state of every job. A result that cannot stand beside the first ones is refused, and stays out of tables."""
    return _comparable([_alone(each, config, out) for each, config in zip(jobs, configs, strict=True)])


def _alone(each: Job, config: Config, out: Path) -> State:
    try:
        result = collected.read(each, out, config)
    except (SweepError, DamagedFileError) as error:
        return State(each, "refused", str(error))
    if result is not None:
        return State(each, "done", "", result)
    if holder := job.held_by(each, out):
        return State(each, "running", holder)
    failed = job.failure(each, out)
    if failed is not None:
        return State(each, "failed", failed)
    return State(each, "waiting", "begun" if folder.workdir(out, each).exists() else "")


def _comparable(found: Sequence[State]) -> list[State]:
    first: State | None = None
    of_fold: dict[int | None, State] = {}
    of_row: dict[str, State] = {}
    judged = []
    for each in found:
        if each.result is not None:
            first = first or each
            others = (first, of_fold.get(each.job.fold, each), of_row.get(each.job.row, each))
            why = next(_unlike(each, *others), None)
            if why is None:
                of_fold.setdefault(each.job.fold, each)
                of_row.setdefault(each.job.row, each)
            else:
                each = State(each.job, "refused", why)
        judged.append(each)
    return judged


def _unlike(here: State, first: State, of_fold: State, of_row: State) -> Iterator[str]:
    """Why a result cannot stand in a table with the first one, the first of its fold and the first of its row."""
    assert here.result and first.result and of_fold.result and of_row.result
    for name in SHARED:
        if here.result.about.get(name) != first.result.about.get(name):
            yield _why(name, here, first)
    if here.result.about["split"] != of_fold.result.about["split"]:
        yield _why("split", here, of_fold)
    for name in ("images", "groups", "votes"):
        if not np.array_equal(here.result._asdict()[name], of_fold.result._asdict()[name]):
            yield f"its {name} are not those of {of_fold.job.name}: it was evaluated on other data; {_mend(here)}"
    if here.result.about["weights"] != of_row.result.about["weights"]:
        yield _why("weights", here, of_row)


def _why(name: str, here: State, other: State) -> str:
    assert here.result and other.result
    mine, theirs = here.result.about.get(name), other.result.about.get(name)
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        keys = [key for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)]
        mine, theirs = ({key: side.get(key) for key in keys} for side in (mine, theirs))
    return f"{name}: here {_short(mine)}, in {other.job.name} {_short(theirs)}; {_mend(here)}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(each)}" for key, each in value.items())
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:12] if len(text) == 64 else text  # a SHA-256


def _mend(state: State) -> str:
    return (
        f"remove the results and the workdir of the one that is out of date, {state.job.folder} or the other"
    )


def counts(found: Sequence[State]) -> dict[str, int]:
    """How many jobs are in each state."""
    return {name: sum(each.state == name for each in found) for name in STATES}
