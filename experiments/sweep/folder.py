"""A sweep's folder: where each job's files lie, and which sweep the folder belongs to.

sweep.json                    rows, seeds, folds and options
jobs/ROW/seed0/               the workdir of a job; with folds seed0-fold1
jobs/ROW/seed0.log, .json     what its command printed, and how it ended where that was no success
results/ROW/seed0.json, .npz  what tables are made from
table.md, table.csv           the tables
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.sweep.plan import Job, Sweep, SweepError, row
from mtp.config import OPTIONS, Reach
from mtp.config.kinds import tupled
from mtp.files import read_json, write_json
from mtp.processes import lock

NAME = "sweep.json"


def beside(folder: Path, suffix: str) -> Path:
    """A file beside a workdir, or of a result; names may hold dots."""
    return folder.with_name(folder.name + suffix)


def workdir(out: Path, job: Job) -> Path:
    """Of the job's training."""
    return out / "jobs" / job.folder


def result(out: Path, job: Job, suffix: str) -> Path:
    """The file .json or .npz that tables are made from."""
    return beside(out / "results" / job.folder, suffix)


def content(file: str, sweep: Sweep, given: Mapping[str, Any]) -> dict[str, Any]:
    """sweep.json; given: options of the command line."""
    found = {
        "file": file,
        "rows": {name: row(each)._asdict() for name, each in sweep.rows.items()},
        "seeds": list(sweep.seeds),
        "folds": sweep.folds,
        "options": dict(sweep.options),
        "given": dict(given),
        "compared_with": sweep.compared_with,
        "claim": sweep.claim,
        "comparisons": list(sweep.comparisons),
    }
    return json.loads(json.dumps(found))


def stored(out: Path) -> dict[str, Any] | None:
    """sweep.json, where it is there. Errors: SweepError where `out` is no folder; DamagedFileError."""
    if out.exists() and not out.is_dir():
        raise SweepError(f"--out must be a folder, but {out} is a file; choose another")
    return read_json(out / NAME, "delete it, and the next start writes it again")


def given_before(out: Path) -> dict[str, Any]:
    """Options of the command line that the sweep was begun with, which need not be given again."""
    there = (stored(out) or {}).get("given", {})
    return {name: tupled(value) for name, value in there.items()}


def compare(out: Path, here: Mapping[str, Any]) -> None:
    """Rows and seeds may be added; all else must be as it was begun.

    Errors: SweepError where the folder is another sweep's, naming what differs.
    """
    there = stored(out)
    differ = [] if there is None else list(_differences(there, here))
    if there is not None and differ:
        raise SweepError(
            "\n  ".join(
                [
                    f"{out} holds the sweep of {there.get('file')} with other rows or options; choose another --out. "
                    f"Of {here['file']} differ",
                    *differ,
                ]
            )
        )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for name, before in there["rows"].items():
        if here["rows"].get(name) != before:
            yield _line(f"row {name!r}", before, here["rows"].get(name))
    if not set(there["seeds"]) <= set(here["seeds"]):
        yield _line("seeds, which can only be added to", there["seeds"], here["seeds"])
    for part in ("folds", "compared_with", "claim", "comparisons"):
        if there[part] != here[part]:
            yield _line(part, there[part], here[part])
    for part, title in (("options", ""), ("given", "--config.")):
        before, now = there[part], here[part]
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name) and shapes_numbers(name):
                yield _line(f"{title}{name}", before.get(name), now.get(name))


def _line(what: str, before: Any, now: Any) -> str:
    return f"{what}: there {before!r}, now {now!r}"


def shapes_numbers(option: str) -> bool:
    """Whether two results that differ in it cannot be compared; where the data lie, and logging, are free."""
    return option not in OPTIONS or OPTIONS[option].reach not in (Reach.PLACE, Reach.NOTHING)


def claim(out: Path, here: Mapping[str, Any]) -> None:
    """Write sweep.json. Errors: as `compare`."""
    out.mkdir(parents=True, exist_ok=True)
    with lock.alone(out / f"{NAME}.lock", wait=True):
        compare(out, here)
        before = stored(out)
        # a place that one machine has is no news to the others
        content = {**here, "given": before["given"]} if before else dict(here)
        if content != before:
            write_json(out / NAME, content)
