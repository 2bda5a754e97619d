"""A sweep by its folder alone: what its table holds, from sweep.json and the collected results."""

from pathlib import Path
from typing import Any

from experiments.sweep import folder, read, states, table
from experiments.sweep.plan import SweepError, jobs


def opened(out: Path) -> dict[str, Any]:
    """`table.build` of the sweep in a folder. Errors: SweepError where there is none, or its file has changed."""
    there = folder.stored(out)
    if there is None:
        raise SweepError(
            f"{out} must be the folder of a sweep; it has no {folder.NAME}. Run python -m experiments.sweep first"
        )
    sweep, given = read.read(there["file"]), folder.given_before(out)
    folder.compare(out, folder.content(there["file"], sweep, given))
    found = jobs(sweep, given)
    return table.build(there["file"], sweep, states.states(found, read.configurations(found), out))
