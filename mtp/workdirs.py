"""A workdir and the configuration that it belongs to: what may change between two commands, what may not."""

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtp.config import OPTIONS, Config, Reach, check, configured, flat, get_config
from mtp.evaluation.plan import size_rules
from mtp.files import DamagedFileError, read_json, write_json
from mtp.native import choice
from mtp.options import known
from mtp.runtime.checkpoint import CheckpointError, Checkpoints

CONFIG = "config.json"
DELETE_RESULTS = "delete it, and the same command makes it again"


class UsageError(ValueError):
    """The command line asks for something that cannot be done; the message says what can."""


def refuse_file(workdir: Path) -> None:
    """Errors: UsageError where the workdir is no folder."""
    if workdir.exists() and not workdir.is_dir():
        raise UsageError(f"--workdir must be a folder, but {workdir} is a file; choose another")


def compare(config: Config, workdir: Path) -> None:
    """What shapes a checkpoint must be the same as before, where a checkpoint or a table is there.

    Errors: UsageError where these belong to another configuration, naming the differing options.
    """
    stored = _stored(workdir)
    if stored and (holds_checkpoint(workdir) or (workdir / "results.json").exists()):
        # an option that is younger than the workdir had its default there
        there, here = flat(get_config()) | flat(stored), flat(config)
        differ = [
            name for name in sorted({*here, *there}) if here.get(name) != there.get(name) and _fixed(name)
        ]
        if differ:
            raise UsageError(_of_another_configuration(workdir, differ, there, here))


def claim(config: Config, workdir: Path) -> None:
    """Write config.json. Errors: as `compare`."""
    compare(config, workdir)
    write_json(workdir / CONFIG, json.loads(config.to_json()))


def _stored(workdir: Path) -> dict[str, Any] | None:
    """config.json, or where that is missing the configuration that a checkpoint was saved with."""
    stored = read_json(
        workdir / CONFIG, "delete it: the checkpoints say too with which options they were trained"
    )
    if stored is not None:
        return stored
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    for step in reversed(checkpoints.steps()):
        with suppress(CheckpointError):  # damaged: as another one says
            return checkpoints.meta(step)["config"]
    return None


def as_begun(config: Config, workdir: Path) -> Config:
    """run.native=auto as it was when the run began, where there is a checkpoint to go on from.

    The paths' last digits differ, and a run that is resumed ends as one that was never stopped. Asked for by its value,
    another path is taken, and a line says so.
    """
    stored = flat(_stored(workdir) or {}) if holds_checkpoint(workdir) else {}
    begun, wanted = stored.get("run.native", "auto"), config.run.native
    if begun in ("auto", wanted):
        return config
    if wanted == "auto":
        return choice.with_native(config, begun)
    print(f"note: this run began with run.native={begun}; from here on its last digits are those of {wanted}")
    return config


def _fixed(name: str) -> bool:
    # an option that no longer exists may have shaped anything
    return name not in OPTIONS or OPTIONS[name].reach.fixed


def _of_another_configuration(
    workdir: Path, differ: Sequence[str], there: Mapping[str, Any], here: Mapping[str, Any]
) -> str:
    lines = [f"  {n}: there {there.get(n)!r}, now {here.get(n)!r}" for n in differ]
    advice = "choose another --workdir"
    if all(name in OPTIONS and OPTIONS[name].reach is Reach.VALIDATION for name in differ):
        advice += (
            ", or evaluate the finished run otherwise with --mode=evaluate: they choose the best checkpoint"
        )
    return "\n".join([f"{workdir} holds a run of another configuration; {advice}. They differ in", *lines])


def holds_checkpoint(workdir: Path) -> bool:
    """Whether there is something to go on from: a run that failed before has no say over the next."""
    return any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*"))


def stored_config(workdir: Path, overrides: Mapping[str, Any]) -> Config:
    """The configuration that a workdir was trained with, and the overrides that evaluation allows.

    Where data.dir names another folder, what described the old one is forgotten. A run on native kernels is evaluated
    on them where they can be used.
    Errors: UsageError where there is none; ConfigError naming every option that cannot be, or belongs to the training.
    """
    stored = _stored(workdir)
    if not stored:
        raise UsageError(f"{workdir} must be a finished workdir; it has no {CONFIG}")
    there = flat(get_config()) | flat(stored)
    values = {**choice.for_inference(there), **_of_other_data(there, overrides), **overrides}
    trained = [name for name in overrides if name in OPTIONS and OPTIONS[name].reach is Reach.TRAINING]
    taken = "--mode=evaluate takes options of the data and the evaluation only"
    check(values, known(), [f"{name} belongs to the training; {taken}" for name in trained])
    return configured(values)


def _of_other_data(stored: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Options that no longer hold once data.dir is another folder: defaults, and the kind of data that lies there."""
    folder = overrides.get("data.dir")
    if not folder or _same_place(folder, stored["data.dir"]):
        return {}
    csv = overrides.get("data.csv", OPTIONS["data.csv"].default)
    if stored["data.name"] == "ava" and not (Path(folder) / csv).is_file():
        return {}
    return {o.name: o.default for o in OPTIONS.values() if o.of_folder} | {"data.name": "votes"}


def suffixes(config: Config) -> dict[str, str]:
    """Each size rule, and what its files end in: results.json, results-trained.json."""
    first, *others = size_rules(config)
    return {first: ""} | {rule: "-" + rule.replace("=", "") for rule in others}


def finished(config: Config, workdir: Path) -> list[dict[str, Any]]:
    """results.json of every size rule, where the workdir has them all under these options, of the data at this place
    and of a training that reached its end; else nothing. Errors: DamagedFileError.
    """
    found = [_results(workdir / f"results{suffix}.json") for suffix in suffixes(config).values()]
    here = json.loads(config.to_json())

    def fits(content: Mapping[str, Any] | None) -> bool:
        return bool(
            content
            and content["config"]["eval"] == here["eval"]
            and _of_same_place(content["config"], here)
            and content.get("finished", True)
        )

    return [content for content in found if content] if all(map(fits, found)) else []


def _results(path: Path) -> dict[str, Any] | None:
    content = read_json(path, DELETE_RESULTS)
    if content is not None and not isinstance(content.get("config"), dict):
        raise DamagedFileError(f"{path} is damaged (it has no configuration); {DELETE_RESULTS}")
    return content


def _of_same_place(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether two configurations name the same files; what lies elsewhere may be the same, but has to be looked at."""
    before, now = flat(there), flat(here)
    places = [name for name, option in OPTIONS.items() if option.reach is Reach.PLACE]
    return all(_same_place(before.get(name, OPTIONS[name].default), now[name]) for name in places)


def _same_place(one: str, other: str) -> bool:
    return one == other or bool(one and other and Path(one).resolve() == Path(other).resolve())


def evaluation_folder(workdir: Path, data: str, config: Config, overrides: Mapping[str, Any]) -> Path:
    """Where an evaluation is written: into the workdir where it is the run's own, else beside it."""
    if all(OPTIONS[name].reach is Reach.NOTHING for name in overrides):
        return workdir
    return folder_beside(workdir, data, config)


def folder_beside(workdir: Path, data: str, config: Config) -> Path:
    """evaluations/DATA-SPLIT in a workdir, with a number where that holds one of other data or options."""
    wanted, name = json.loads(config.to_json()), f"{data}-{config.eval.split}"

    def fits(folder: Path) -> bool:
        there = _results(folder / "results.json")
        return not there or all(there["config"].get(part) == wanted[part] for part in ("data", "eval"))

    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    folders = (workdir / "evaluations" / name for name in names)
    return next(folder for folder in folders if fits(folder))
