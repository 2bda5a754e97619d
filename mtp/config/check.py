"""The one check: every error of a configuration at once, before any data is read."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from mtp.config.option import Known
from mtp.config.records import OPTIONS
from mtp.config.rules import CONFLICTS, IDLE
from mtp.config.values import ConfigError


def check(values: Mapping[str, Any], known: Known, others: Sequence[str] = ()) -> None:
    """values: all options by dotted name (`flat`); known: names that other packages define, of every option of the
    kind `Named`; others: errors that the caller has found.

    Errors: ConfigError with a line for each: the option, what must hold, what came.
    """
    found = [*others, *errors(values, known)]
    if len(found) == 1:
        raise ConfigError(found[0])
    if found:
        raise ConfigError("\n  ".join([f"{len(found)} errors in the options:", *found]))


def errors(values: Mapping[str, Any], known: Known) -> list[str]:
    """A line for each option that does not exist, is missing, has a value that cannot be, or excludes another one's."""
    single = {name: OPTIONS[name].error(values[name], known) for name in OPTIONS if name in values}
    missing = [name for name in OPTIONS if name not in values]
    wrong = {name for name, error in single.items() if error} | set(missing)
    c = _nested({name: value for name, value in values.items() if name in OPTIONS}, known)
    return [
        *(unknown(name) for name in values if name not in OPTIONS),
        *(f"{name} is missing; begin with get_config() of mtp.config" for name in missing),
        *(error for error in single.values() if error),
        # a rule is no use where one of its options is wrong by itself
        *(
            rule.must.format(c=c)
            for rule in CONFLICTS
            if not wrong.intersection(rule.options) and rule.broken(c)
        ),
    ]


def unknown(name: str) -> str:
    """What to say of an option that does not exist."""
    (near,) = difflib.get_close_matches(name, OPTIONS, 1, 0.0)
    return f"there is no option {name}; the nearest is {near}"


def idle(values: Mapping[str, Any], known: Known, given: Collection[str]) -> list[str]:
    """A line for each of the given options that has no effect beside the others; values: as `check` has passed."""
    c, found = _nested(values, known), {}
    for rule in IDLE:
        if rule.when(c):
            found |= {name: f"{name} has no effect: {rule.why}" for name in rule.options if name not in found}
    return [found[name] for name in given if name in found]


def _nested(values: Mapping[str, Any], known: Known) -> Any:
    """Values as attributes: c.loss.emd_r."""
    top: dict[str, Any] = {"known": known}
    for name, value in values.items():
        section, _, inside = name.rpartition(".")
        holder = vars(top.setdefault(section, SimpleNamespace())) if section else top
        holder[inside] = value
    return SimpleNamespace(**top)
