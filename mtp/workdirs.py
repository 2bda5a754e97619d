"""A workdir and the configuration that it belongs to: what may change between two commands, what may not."""

import difflib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtp.config import Config, get_config
from mtp.evaluation.rows import size_rules
from mtp.files import read_json, write_json

TRAINED = "training_pictures.npy"  # `picture_hashes` of the training split
# what may differ between a workdir's runs: it does not change what is learnt
FREE = ("log.", "eval.", "run.", "input.threads", "input.ahead", "train.compile_in_parallel")
OF_A_FOLDER = ("data.csv", "data.group", "data.folds", "data.fold", "data.split", "data.split_dir", "eval.by")
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


def flat(config: Config) -> dict[str, Any]:
    """All options by dotted name, as JSON would hold them."""
    values = json.loads(config.to_json())
    return {
        f"{section}.{name}" if isinstance(inside, dict) else section: value
        for section, inside in values.items()
        for name, value in (inside.items() if isinstance(inside, dict) else ((section, inside),))
    }


def claim(config: Config, workdir: Path) -> None:
    """Write config.json; where a checkpoint or a table is there, compare first.

    Errors: UsageError where these belong to another configuration, naming the differing options.
    """
    path = workdir / "config.json"
    stored = read_json(path)
    here = flat(config)
    if stored and (holds_checkpoint(workdir) or (workdir / "results.json").exists()):
        # an option that is younger than the workdir had its default there
        there = flat(get_config()) | flat(ConfigDict(stored))
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
    write_json(path, json.loads(config.to_json()))


def holds_checkpoint(workdir: Path) -> bool:
    """Whether there is something to go on from: a run that failed before has no say over the next."""
    return any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*"))


def stored_config(workdir: Path, overrides: Mapping[str, Any]) -> Config:
    """The configuration that a workdir was trained with, and the overrides that evaluation allows.

    Where data.dir names another folder, what described the old one is forgotten.
    """
    stored = read_json(workdir / "config.json")
    if not stored:
        raise UsageError(f"{workdir} must be a finished workdir; it has no config.json")
    fixed = [name for name in overrides if not name.startswith(EVALUATION)]
    if fixed:
        raise UsageError(
            f"--mode=evaluate takes options of data, eval and log only; {', '.join(fixed)} belong to training"
        )
    config = get_config()
    there = flat(ConfigDict(stored))
    for name, value in {**there, **_of_other_data(there, overrides), **overrides}.items():
        # JSON has lists where the configuration has tuples
        config.update_from_flattened_dict({name: _tupled(value)})
    return config


def _of_other_data(stored: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Options that no longer hold once data.dir is another folder: defaults, and the kind of data that lies there."""
    folder = overrides.get("data.dir")
    before = stored["data.dir"]
    if not folder or (before and Path(folder).resolve() == Path(before).resolve()):
        return {}
    csv = overrides.get("data.csv", get_config().data.csv)
    if stored["data.name"] == "ava" and not (Path(folder) / csv).is_file():
        return {}
    defaults = flat(get_config())
    return {name: defaults[name] for name in defaults if name in OF_A_FOLDER} | {"data.name": "votes"}


def _tupled(value: Any) -> Any:
    return tuple(_tupled(v) for v in value) if isinstance(value, list) else value


def suffixes(config: Config) -> dict[str, str]:
    """Each size rule, and what its files end in: results.json, results-trained.json."""
    first, *others = size_rules(config)
    return {first: ""} | {rule: "-" + rule.replace("=", "") for rule in others}


def finished(config: Config, workdir: Path) -> list[dict[str, Any]]:
    """results.json of every size rule, where the workdir has them all under these options and of a training that
    reached its end; else nothing.
    """
    wanted = json.loads(config.to_json())["eval"]
    found = [read_json(workdir / f"results{suffix}.json") for suffix in suffixes(config).values()]
    return (
        [content for content in found if content]
        if all(c and c["config"]["eval"] == wanted and c.get("finished", True) for c in found)
        else []
    )


def evaluation_folder(workdir: Path, data: str, config: Config, overrides: Mapping[str, Any]) -> Path:
    """Where an evaluation is written: into the workdir where it is the run's own, else evaluations/DATA-SPLIT, with a
    number where that holds one of other data or options.
    """
    if not any(name.startswith(("data.", "eval.")) for name in overrides):
        return workdir
    wanted, name = json.loads(config.to_json()), f"{data}-{config.eval.split}"

    def fits(folder: Path) -> bool:
        there = read_json(folder / "results.json")
        return not there or all(there["config"][part] == wanted[part] for part in ("data", "eval"))

    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    folders = (workdir / "evaluations" / name for name in names)
    return next(folder for folder in folders if fits(folder))
