"""Runs of `python -m mtp.main`, as a user starts them."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def command(config: str, workdir: Path, options: Mapping[str, Any]) -> list[str]:
    """The command of a run. config: as --config; options: by dotted name."""
    given = [f"--config.{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "mtp.main", f"--config={config}", f"--workdir={workdir}", *given]


def finish(config: str, workdir: Path, options: Mapping[str, Any]) -> None:
    """Train and evaluate, or go on; nothing is done where all is.

    Errors: SystemExit with the run's status where it fails, whose own error stands on the standard error.
    """
    status = subprocess.run(command(config, workdir, options), stdout=subprocess.DEVNULL).returncode
    if status:
        print(f"error: the run in {workdir} ended with status {status}, as said above", file=sys.stderr)
        sys.exit(status if status > 0 else 128 - status)
