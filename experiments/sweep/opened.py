"""A sweep with its jobs, by its file or by its folder alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.sweep import folder, read, states, table
from experiments.sweep.plan import Job, Sweep, SweepError, jobs
from mtp.config import Config


class Asked(NamedTuple):
    """given: options of the command line, now and before. jobs, configs: one of each a job."""

    file: str
    sweep: Sweep
    given: dict[str, Any]
    out: Path
    jobs: list[Job]
    configs: list[Config]

    @property
    def content(self) -> dict[str, Any]:
        """sweep.json."""
        return folder.content(self.file, self.sweep, self.given)

    def states(self) -> list[states.State]:
        """Of every job, from the disk."""
        return states.states(self.jobs, self.configs, self.out)

    def table(self) -> dict[str, Any]:
        """`table.build` of the results that are there."""
        return table.build(self.file, self.sweep, self.states())


def asked(file: str, out: Path, given: Mapping[str, Any]) -> Asked:
    """Errors: SweepError naming all that cannot be, or what differs from the sweep that the folder holds."""
    sweep = read.read(file)
    read.given_errors(given)
    given = {**folder.given_before(out), **given}
    found = jobs(sweep, given)
    configs = read.configurations(found)
    folder.compare(out, folder.content(file, sweep, given))
    return Asked(file, sweep, given, out, found, configs)


def opened(out: Path) -> dict[str, Any]:
    """The table of the sweep in a folder. Errors: SweepError where there is none, or its file has changed."""
    there = folder.stored(out)
    if there is None:
        raise SweepError(
            f"{out} must be the folder of a sweep; it has no {folder.NAME}. Run python -m experiments.sweep first"
        )
    return asked(there["file"], out, {}).table()
