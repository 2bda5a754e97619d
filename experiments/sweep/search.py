"""A search: trial after trial in a workdir each, proposed from the validation scores of those before.

The trials' files are the only record. A search that is started again goes on with the trial that was not finished, and
tries failed ones again. One process at a time searches in a folder.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.sweep import folder, space
from experiments.sweep.job import PROGRAM, Runner
from experiments.sweep.plan import Job, SweepError
from experiments.sweep.sampler import Sampler
from experiments.sweep.trials import Search, Trial
from mtp.config.kinds import tupled
from mtp.files import read_json, write_json
from mtp.processes import lock
from mtp.processes.signals import Stop
from mtp.runtime import step_folder
from mtp.runtime.checkpoint import CheckpointError, Checkpoints

NAME, LOCK = "search.json", "search.lock"


def run(
    file: str,
    search: Search,
    out: Path,
    given: Mapping[str, Any],
    stop: Stop,
    sampler: Sampler,
    program: Sequence[str] = PROGRAM,
) -> list[Trial]:
    """All trials up to `search.trials`, each told as it ends. Errors: SweepError where the folder is another search's;
    LockError where another process searches there.
    """
    space.corners(search, given)
    out.mkdir(parents=True, exist_ok=True)
    with lock.alone(out / LOCK):
        _claim(out, file, search, given)
        runner = Runner(out, stop, program)
        stop.last = runner.end
        ended: list[Trial] = []
        for number in range(search.trials):
            proposed = _proposed(out, number, ended, sampler)
            ended.append(_trial(runner, space.job(search, number, proposed, given), proposed, out))
            print(_line(ended[-1]), flush=True)
    return ended


def _claim(out: Path, file: str, search: Search, given: Mapping[str, Any]) -> None:
    """Errors: SweepError where another search was begun here, naming what differs."""
    parts = {**search._asdict(), "given": {n: v for n, v in given.items() if folder.shapes_numbers(n)}}
    here = json.loads(json.dumps({"file": file, **parts}))
    there = read_json(out / NAME, "delete it, and the next start writes it again")
    differ = [
        f"{part}: there {there.get(part)!r}, now {here[part]!r}"
        for part in here
        if there is not None and part not in ("file", "trials") and there.get(part) != here[part]
    ]
    if there is not None and differ:
        head = f"{out} holds the search of {there.get('file')}; choose another --out. Of {file} differ"
        raise SweepError("\n  ".join([head, *differ]))
    write_json(out / NAME, here)


def _proposed(out: Path, number: int, ended: Sequence[Trial], sampler: Sampler) -> dict[str, Any]:
    """What was proposed before for this number, where it was begun."""
    path = out / "proposed" / f"trial{number:04d}.json"
    there = read_json(path, "delete it and the trial's workdir")
    if there is not None:
        return {name: tupled(value) for name, value in there.items()}
    found = sampler.propose(number, ended)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    return found


def _trial(runner: Runner, job: Job, proposed: Mapping[str, Any], out: Path) -> Trial:
    path = folder.result(out, job, ".score.json")
    there = read_json(path, "delete it, and it is read again from the workdir")
    if there is None:
        outcome = runner.run(job)
        if outcome.state == "running":
            raise SweepError(f"{job.row} is run by {outcome.text}; wait for it, or end it")
        if outcome.state == "failed":
            return Trial(job.index, proposed, None, outcome.text)
        there = {"score": _score(folder.workdir(out, job)), "seconds": _seconds(job, out)}
        write_json(path, there)
    return Trial(job.index, proposed, there["score"])


def _score(workdir: Path) -> float:
    """The validation criterion of the best checkpoint, higher is better."""
    try:
        best = Checkpoints(workdir / "checkpoints", read_only=True).best_known_step()
        score = step_folder.read_score(workdir / "checkpoints" / str(best), latest=True)
    except (CheckpointError, step_folder.DamagedError) as error:
        raise SweepError(f"{workdir}: the score of its best checkpoint cannot be read: {error}") from error
    if score is None:
        raise SweepError(f"{workdir} must have a validation score, and has none; it needs a validation split")
    return score


def _seconds(job: Job, out: Path) -> float:
    about = read_json(folder.result(out, job, ".json")) or {}
    return float(about.get("seconds", 0))


def _line(trial: Trial) -> str:
    score = f"failed ({trial.why})" if trial.score is None else f"score {trial.score:.5f}"
    return f"trial {trial.number}: {score}; " + ", ".join(
        f"{n} {_number(v)}" for n, v in trial.proposed.items()
    )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def best(ended: Sequence[Trial], search: Search, given: Mapping[str, Any]) -> str:
    """The trial with the highest score, and how to train with its options."""
    known = [trial for trial in ended if trial.score is not None]
    if not known:
        return f"none of {len(ended)} trials has a score"
    first = max(known, key=lambda trial: trial.score or 0.0)
    job = space.job(search, first.number, first.proposed, given)
    hidden = (*space.MEASURED_ON, "seed")
    shown = [a for a in job.arguments if not a.startswith(tuple(f"--config.{name}=" for name in hidden))]
    return f"best of {len(known)}: {_line(first)}\n{shlex.join(shown)}"
