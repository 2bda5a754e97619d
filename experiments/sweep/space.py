"""A search's ranges: held against what can be, and a point of them as the options of a training."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.sweep.plan import OF_THE_JOB, Job, SweepError
from experiments.sweep.read import configurations, raise_all
from experiments.sweep.trials import Between, OneOf, Search
from mtp.config import ConfigError, flat, read_file

ENTRY = re.compile(r"(.+)\[(\d+)\]")  # loss.log_sigma[0]: an entry of a tuple
MEASURED_ON = {"eval.split": "validation"}  # no trial looks at the test split


def checked(search: Any, path: Path) -> Search:
    """What get_search() of a file has returned. Errors: SweepError naming everything that cannot be."""
    if not isinstance(search, Search):
        raise SweepError(f"get_search() of {path} must return a Search of experiments.sweep, not {search!r}")
    raise_all(f"{path}: ", list(_errors(search)))
    return search


def _errors(search: Search) -> Iterator[str]:
    if not search.ranges:
        yield "ranges must hold at least one option"
    for name, given in search.ranges.items():
        yield from (f"ranges: {name} {error}" for error in _range_errors(given))
    for name in (*search.ranges, *search.options):
        if name in (*OF_THE_JOB, *MEASURED_ON):
            yield f"{name} must be left out; the search sets it"
        if name in search.ranges and name in search.options:
            yield f"{name} must be in ranges or in options, not in both"
    if not isinstance(search.trials, int) or search.trials < 1:
        yield f"trials must be an integer of at least 1, not {search.trials!r}"


def _range_errors(given: Any) -> Iterator[str]:
    if isinstance(given, OneOf):
        if not given.values:
            yield "must have at least one value"
    elif not isinstance(given, Between):
        yield f"must be Between(low, high) or OneOf(values), not {given!r}"
    elif not given.low < given.high or (given.log and given.low <= 0):
        above = ", above 0 for log" if given.log else ""
        yield f"must have low below high{above}; they are {given.low!r} and {given.high!r}"


def job(search: Search, number: int, proposed: Mapping[str, Any], given: Mapping[str, Any]) -> Job:
    """The training of a trial. given: options of the command line. Errors: ConfigError, SweepError."""
    shared = {**search.options, **given}
    values = {**flat(read_file(search.config)), **shared}
    options = {**shared, **_assembled(proposed, values), **MEASURED_ON, "seed": search.seed}
    return Job(number, f"trial{number:04d}", search.seed, None, search.config, options)


def _assembled(proposed: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a configuration has them; values: of the configuration, whose tuples are completed."""
    found: dict[str, Any] = {}
    for name, value in proposed.items():
        entry = ENTRY.fullmatch(name)
        if entry is None:
            found[name] = value
            continue
        option, place = entry[1], int(entry[2])
        before = found.get(option, values.get(option))
        if not isinstance(before, tuple) or place >= len(before):
            raise SweepError(f"ranges: {name} must be an entry of a tuple; {option} is {before!r}")
        found[option] = (*before[:place], value, *before[place + 1 :])
    return found


def corners(search: Search, given: Mapping[str, Any]) -> None:
    """Hold the ends of all ranges against what can be. Errors: SweepError with every error."""
    lowest = {n: r.low if isinstance(r, Between) else r.values[0] for n, r in search.ranges.items()}
    try:
        ends = [job(search, 0, {**lowest, n: v}, given) for n, r in search.ranges.items() for v in _ends(r)]
    except ConfigError as error:
        raise SweepError(str(error)) from error
    for config in configurations(ends):
        if config.train.method == "features":
            raise SweepError(
                "a search needs a validation split, which train.method=features trains on; choose another method"
            )


def _ends(given: Between | OneOf) -> tuple[Any, ...]:
    return (given.low, given.high) if isinstance(given, Between) else given.values
