"""Start `local` so that it outlives the terminal, and say where to look for it."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.sweep.plan import SweepError
from mtp.processes import lock

LOCK = "submitted.lock"  # held by a `local` that was submitted
LOG = "local.log"
ASK = 0.1  # seconds between two looks at whether it runs


def submit(out: Path, command: Sequence[str]) -> str:
    """Start the command, whose first act is to take `LOCK`; once it has it, a line says so.

    Errors: SweepError where another one has it, or the command ends before.
    """
    log = out / LOG
    if holder := lock.holder(out / LOCK):
        raise SweepError(f"{out} is being worked on by {holder}; its log is {log}. Wait for it, or end it")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    while f"process {process.pid} on " not in (lock.holder(out / LOCK) or ""):
        if process.poll() == 0:
            return f"nothing is left to do; the log is {log}"
        if process.returncode:
            raise SweepError(f"it has ended at once: {_last_line(log)}; its log is {log}")
        time.sleep(ASK)
    return f"process {process.pid} works on it, and goes on when this terminal is closed; its log is {log}"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
