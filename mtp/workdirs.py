"""A workdir and the configuration that it belongs to: what may change between two commands, what may not."""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtp.config import Config, get_config
from mtp.evaluate import size_rules
from mtp.results import write_json

# what may differ between a workdir's runs: it does not change what is learnt
FREE = ("log.", "eval.", "run.", "input.threads", "input.ahead", "train.compile_in_parallel")
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
    """Write config.json, or compare with the one that is there.

    Errors: UsageError where the workdir belongs to another configuration, naming the differing options.
    """
    path = workdir / "config.json"
    stored = read_json(path)
    here = flat(config)
    if stored:
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


def stored_config(workdir: Path, overrides: Mapping[str, Any]) -> Config:
    """The configuration that a workdir was trained with, and the overrides that evaluation allows."""
    stored = read_json(workdir / "config.json")
    if not stored:
        raise UsageError(f"{workdir} must be a finished workdir; it has no config.json")
    fixed = [name for name in overrides if not name.startswith(EVALUATION)]
    if fixed:
        raise UsageError(
            f"--mode=evaluate takes options of data, eval and log only; {', '.join(fixed)} belong to training"
        )
    config = get_config()
    for name, value in {**flat(ConfigDict(stored)), **overrides}.items():
        # JSON has lists where the configuration has tuples
        config.update_from_flattened_dict({name: _tupled(value)})
    return config


def _tupled(value: Any) -> Any:
    return tuple(_tupled(v) for v in value) if isinstance(value, list) else value


def suffixes(config: Config) -> dict[str, str]:
    """Each size rule, and what its files end in: results.json, results-trained.json."""
    first, *others = size_rules(config)
    return {first: ""} | {rule: "-" + rule.replace("=", "") for rule in others}


def finished(config: Config, workdir: Path) -> list[dict[str, Any]]:
    """results.json of every size rule, where the workdir has them all under these options; else nothing."""
    wanted = json.loads(config.to_json())["eval"]
    found = [read_json(workdir / f"results{suffix}.json") for suffix in suffixes(config).values()]
    return (
        [content for content in found if content]
        if all(c and c["config"]["eval"] == wanted for c in found)
        else []
    )


def read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None
