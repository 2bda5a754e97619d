"""All jobs one after another on this machine, beside others that do the same."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.sweep.job import PROGRAM, Outcome, Runner
from experiments.sweep.plan import Job
from experiments.sweep.states import State
from mtp.processes.signals import Stop

WAIT = 1.0  # seconds between two looks at jobs that others run
Tell = Callable[[Job, str, str], None]  # a job, its state, and what there is to say of it


def run_all(
    found: Sequence[State],
    out: Path,
    stop: Stop,
    tell: Tell,
    watch: Callable[[], None],
    program: Sequence[str] = PROGRAM,
) -> dict[Job, Outcome]:
    """Run what is neither done nor refused, each once; failed ones of earlier calls are tried again.

    A job that another process runs is asked for again once all others are through, until that one has ended: then it is
    done, or is gone on with here. found: the state of each job; tell: called at each change; watch: while a job runs.
    """
    runner = Runner(out, stop, program, watch)
    stop.last = runner.end
    pending = [each.job for each in found if each.state not in ("done", "refused")]
    outcomes = {}
    while pending:
        held = []
        for job in pending:
            tell(job, "running", "")
            outcome = runner.run(job)
            if outcome.state == "running":
                held.append(job)
                tell(job, "elsewhere", outcome.text)
            else:
                outcomes[job] = outcome
                tell(job, *outcome)
        if len(held) == len(pending):
            watch()
            time.sleep(WAIT)
        pending = held
    return outcomes
