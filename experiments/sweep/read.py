"""Read a sweep's file, and hold all of it against what can be, before anything runs."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.sweep.plan import OF_THE_JOB, REFERENCES, ROW_NAME, Job, Row, Sweep, SweepError, row
from mtp.config import OPTIONS, ConfigError, check, flat, idle, read_file
from mtp.config.values import Config, configured
from mtp.evaluation.metrics import METRICS
from mtp.options import known

CLAIMS = tuple(m.name for m in METRICS.values() if m.per == "picture" and m.label == "histogram")


def read(file: str) -> Sweep:
    """What get_sweep() of a Python file returns. Errors: SweepError naming everything in it that cannot be."""
    return checked(called(file, "get_sweep"), Path(file))


def called(file: str, function: str) -> Any:
    """What a function of a Python file returns. Errors: SweepError where there is none."""
    path = Path(file).expanduser()
    must = f"FILE must be a Python file with {function}(), as docs/sweeps.md says"
    spec = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise SweepError(f"{must}; {'there is no' if not path.is_file() else 'it cannot be'} {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if function not in vars(module):
        raise SweepError(f"{must}; {path} has none")
    return vars(module)[function]()


def checked(sweep: Any, path: Path) -> Sweep:
    """What get_sweep() of a file has returned. Errors: as `read`."""
    if not isinstance(sweep, Sweep):
        raise SweepError(f"get_sweep() of {path} must return a Sweep of experiments.sweep, not {sweep!r}")
    raise_all(f"{path}: ", list(_errors(sweep)))
    return sweep


def _errors(sweep: Sweep) -> Iterator[str]:
    if not isinstance(sweep.rows, Mapping) or not sweep.rows:
        yield f"rows must be a dictionary of at least one row, not {sweep.rows!r}"
        return
    for name, given in sweep.rows.items():
        yield from _row_errors(name, given)
    if len({str(name).casefold() for name in sweep.rows}) < len(sweep.rows):
        yield "names of rows must differ in more than upper and lower case, since each is a folder"
    yield from _seed_errors(sweep.seeds)
    if (
        isinstance(sweep.folds, bool)
        or not isinstance(sweep.folds, int)
        or sweep.folds < 0
        or sweep.folds in (1, 2)
    ):
        yield f"folds must be 0 (none) or at least 3, since one fold tests and one validates; it is {sweep.folds!r}"
    yield from (f"options: {error}" for error in _reserved(sweep.options))
    if sweep.compared_with not in (*sweep.rows, *REFERENCES):
        names = ", ".join((*map(str, sweep.rows), *REFERENCES))
        yield f"compared_with must be one of the rows {names}; it is {sweep.compared_with!r}"
    if sweep.claim not in CLAIMS:
        yield f"claim must be one of the metrics {', '.join(CLAIMS)}; it is {sweep.claim!r}"
    for pair in sweep.comparisons:
        if len(pair) != 2 or not set(pair) <= {*sweep.rows} or len({*pair}) < 2:
            yield f"comparisons must be pairs of two rows of {', '.join(map(str, sweep.rows))}; one is {pair!r}"


def _row_errors(name: Any, given: Any) -> Iterator[str]:
    if not isinstance(name, str) or not ROW_NAME.fullmatch(name) or name in REFERENCES:
        yield (
            "the name of a row must be letters, digits, spaces and _ . , + = -, begin with a letter or digit, and be "
            f"none of {', '.join(REFERENCES)}; it is {name!r}"
        )
    if not isinstance(given, str | Row):
        yield f"row {name!r} must be a text such as 'configs/votes.py', or a Row; it is {given!r}"
        return
    yield from (f"row {name!r}: {error}" for error in _reserved(row(given).options))


def _reserved(options: Mapping[str, Any]) -> Iterator[str]:
    for option in OF_THE_JOB:
        if option in options:
            yield f"{option} must be left out; the sweep sets it from its seeds and folds"


def _seed_errors(seeds: Any) -> Iterator[str]:
    if not isinstance(seeds, Sequence) or not seeds:
        yield f"seeds must be at least one integer, such as (0, 1, 2); they are {seeds!r}"
    elif wrong := list(filter(None, (OPTIONS["seed"].error(seed, {}) for seed in seeds))):
        yield f"seeds: {wrong[0]}"
    elif len(set(seeds)) < len(seeds):
        yield f"seeds must be different integers from 0; they are {tuple(seeds)!r}"


def raise_all(where: str, errors: Sequence[str]) -> None:
    """Errors: SweepError of one line, or a line each."""
    if len(errors) == 1:
        raise SweepError(where + errors[0])
    if errors:
        raise SweepError("\n  ".join([f"{where}{len(errors)} errors:", *errors]))


def given_errors(given: Mapping[str, Any]) -> None:
    """Errors: SweepError where the command line sets what the sweep sets itself."""
    raise_all("--config: ", list(_reserved(given)))


def configurations(jobs: Sequence[Job]) -> list[Config]:
    """The configuration of each job. Errors: SweepError with every error of every row, its file named."""
    files: dict[str, dict[str, Any]] = {}
    names, errors, found = known(), [], []
    for job in jobs:
        try:
            if job.config not in files:
                files[job.config] = flat(read_file(job.config))
            values = {**files[job.config], **job.options}
            check(values, names, _without_quality(values))
            found.append(configured(values))
        except ConfigError as error:
            text = f"row {job.row!r} ({job.config}): {error}"
            errors += [text] if text not in errors else []
    raise_all("", errors)
    return found


def _without_quality(values: Mapping[str, Any]) -> list[str]:
    tasks = values.get("model.tasks")
    if isinstance(tasks, tuple) and not {"distribution", "two_category"} & set(tasks):
        return [
            "model.tasks must hold distribution or two_category, which tables compare; they are "
            + ", ".join(map(str, tasks))
        ]
    return []


def notes(jobs: Sequence[Job], configs: Sequence[Config]) -> list[str]:
    """A line for each option that was asked for and has no effect in a row."""
    found = [
        f"note: row {job.row!r}: {note}"
        for job, config in zip(jobs, configs, strict=True)
        for note in idle(flat(config), known(), job.options)
    ]
    return list(dict.fromkeys(found))
