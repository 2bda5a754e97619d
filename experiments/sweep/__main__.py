"""Rows x seeds (x folds) from one readable file.  python -m experiments.sweep COMMAND FILE [--out=FOLDER]

check   hold every row against what can be, before anything runs; print the jobs
list    the jobs with their commands
run     one job: --index=I, else $SLURM_ARRAY_TASK_ID
local   all jobs one after another; started again, it goes on
submit  start `local` so that it outlives the terminal, and return
status  what has become of each job, from the disk
table   tables from the collected results, to FOLDER/table.md and .csv
search  trials of FILE's get_search(), proposed by Optuna from validation scores

--config.x.y=VALUE sets an option of every row; it need not be given again. docs/sweeps.md says more.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    # until signals are heeded: no traceback of what is being imported
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from experiments.sweep import detach, folder, job, local, opened, pages, read, search, space, states
from experiments.sweep.opened import Asked
from experiments.sweep.plan import Job, SweepError
from experiments.sweep.progress import Progress
from experiments.sweep.sampler import OptunaSampler, Sampler
from experiments.sweep.trials import Ranges
from mtp.config import overrides
from mtp.files import DamagedFileError, write_text
from mtp.processes import ending, lock
from mtp.processes.lock import LockError
from mtp.processes.signals import Stop
from mtp.report.tables import aligned

COMMANDS = ("check", "list", "run", "local", "submit", "status", "table", "search")
OUTSIDE = (SweepError, DamagedFileError, LockError)
ARRAY = "SLURM_ARRAY_TASK_ID"


class Programs(NamedTuple):
    """How a training is started, and how this command is; who proposes trials."""

    train: Sequence[str] = job.PROGRAM
    sweep: Sequence[str] = (sys.executable, "-m", "experiments.sweep")
    sampler: Callable[[Ranges, int], Sampler] = OptunaSampler


def main(arguments: Sequence[str], programs: Programs = Programs()) -> None:  # noqa: B008
    """Errors: SystemExit with a line, or with the status of a signal."""
    rest, given = overrides.split(arguments)
    parser = argparse.ArgumentParser(
        "experiments.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("file", metavar="FILE", help="with get_sweep(), such as configs/sweeps/two_rows.py")
    parser.add_argument("--out", type=Path, help="default: runs/sweeps/ and the file's name")
    parser.add_argument("--index", type=int, help=f"run: of `list`; default: ${ARRAY}")
    parser.add_argument("--submitted", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args(rest)
    with Stop(lambda: "run the same command again") as stop, ending.in_a_line(*OUTSIDE):
        out = (said.out or Path("runs/sweeps") / Path(said.file).stem).expanduser()
        if said.command == "search":
            find(said.file, out, given, stop, programs)
            return
        asked = opened.asked(said.file, out, given)
        match said.command:
            case "check":
                check(asked)
            case "list":
                show_list(asked, programs)
            case "run":
                run(asked, said.index, stop, programs)
            case "local":
                work(asked, stop, programs, submitted=said.submitted)
            case "submit":
                submit(asked, arguments, programs)
            case "status":
                status(asked)
            case "table":
                make_table(asked)


def check(asked: Asked) -> None:
    """Every row is valid: otherwise `opened.asked` has said so."""
    for note in read.notes(asked.jobs, asked.configs):
        print(note)
    for name in asked.sweep.rows:
        print(f"row {name!r}: {shlex.join(_of_row(asked, name))}")
    for each in asked.jobs:
        print(f"{each.index}: {each.name}")
    print(f"{_product(asked)}, into {asked.out}")


def _of_row(asked: Asked, name: str) -> list[str]:
    first = next(each for each in asked.jobs if each.row == name)
    hidden = tuple(f"--config.{option}=" for option in ("seed", "data.fold"))
    return [argument for argument in first.arguments if not argument.startswith(hidden)]


def _product(asked: Asked) -> str:
    return f"{pages.product(asked.sweep)} = {len(asked.jobs)} jobs"


def show_list(asked: Asked, programs: Programs) -> None:
    """A line a job: index, row, seed, fold, command."""
    for each in asked.jobs:
        fold = "-" if each.fold is None else str(each.fold)
        command = job.command(each, asked.out, programs.train)
        print("\t".join([str(each.index), each.row, str(each.seed), fold, shlex.join(command)]))


def run(asked: Asked, index: int | None, stop: Stop, programs: Programs) -> None:
    """One job to its end. Errors: SweepError where it fails, or another process has it."""
    chosen = _chosen(asked, index)
    folder.claim(asked.out, asked.content)
    before = asked.states()[chosen.index]
    if before.state == "refused":
        raise SweepError(f"{chosen.name} is refused: {before.text}")
    runner = job.Runner(asked.out, stop, programs.train)
    stop.last = runner.end
    print(f"{chosen.name}: its log is {job.log(chosen, asked.out)}", flush=True)
    outcome = runner.run(chosen)
    if outcome.state == "running":
        raise SweepError(f"{chosen.name} is run by {outcome.text}; wait for it, or end it")
    if outcome.state == "failed":
        raise SweepError(f"{chosen.name} has failed: {outcome.text}")
    print(f"{chosen.name}: done; {folder.result(asked.out, chosen, '.json')}")


def _chosen(asked: Asked, index: int | None) -> Job:
    if index is None:
        text = os.environ.get(ARRAY, "")
        if not text.isdecimal():
            raise SweepError(f"run needs --index=I, or ${ARRAY}, which is {text!r}")
        index = int(text)
    if not 0 <= index < len(asked.jobs):
        raise SweepError(f"--index must lie in 0..{len(asked.jobs) - 1}, as `list` says; it is {index}")
    return asked.jobs[index]


def work(asked: Asked, stop: Stop, programs: Programs, *, submitted: bool) -> None:
    """All jobs. Errors: SweepError at the end, where some failed or are refused."""
    folder.claim(asked.out, asked.content)
    # to the last line of the log: whoever waits for the lock then finds how it ended
    with lock.alone(asked.out / detach.LOCK) if submitted else nullcontext():
        _work(asked, stop, programs)


def _work(asked: Asked, stop: Stop, programs: Programs) -> None:
    found = asked.states()
    progress = Progress(found, asked.out)
    done = states.counts(found)["done"]
    print(f"{_product(asked)}, {done} of them done; {progress.estimate()}", flush=True)
    outcomes = local.run_all(found, asked.out, stop, progress.tell, progress.watch, programs.train)
    bad = [(s.job, s.text) for s in found if s.state == "refused"]
    bad += [(each, outcome.text) for each, outcome in outcomes.items() if outcome.state == "failed"]
    if bad:
        lines = [f"{each.name}: {text} (log: {job.log(each, asked.out)})" for each, text in bad]
        head = f"{len(bad)} of {len(asked.jobs)} jobs failed or are refused; mend them, and run the same command again"
        raise SweepError("\n  ".join([head, *lines]))
    print(
        f"all {len(asked.jobs)} jobs are done; python -m experiments.sweep table {asked.file}{_out(asked)}",
        flush=True,
    )


def _out(asked: Asked) -> str:
    usual = Path("runs/sweeps") / Path(asked.file).stem
    return "" if asked.out == usual else f" --out={shlex.quote(str(asked.out))}"


def submit(asked: Asked, arguments: Sequence[str], programs: Programs) -> None:
    """Start `local`, in a process of its own. Errors: SweepError where one runs."""
    folder.claim(asked.out, asked.content)
    others = list(arguments)
    others[others.index("submit")] = "local"
    print(detach.submit(asked.out, [*programs.sweep, *others, "--submitted"]))


def status(asked: Asked) -> None:
    """A line a job, and how many are in each state."""
    found = asked.states()
    body = [[each.job.name, str(each.job.index), each.state, each.text.replace("\n", " ")] for each in found]
    print("\n".join(line.rstrip() for line in _left(["job", "index", "state", ""], body).splitlines()))
    print(", ".join(f"{count} {name}" for name, count in states.counts(found).items() if count))


def _left(header: list[str], body: list[list[str]]) -> str:
    """As `aligned`, every column to the left."""
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
    return aligned(header, [[cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in body])


def make_table(asked: Asked) -> None:
    """Print the table, and write table.md and table.csv."""
    content = asked.table()
    asked.out.mkdir(parents=True, exist_ok=True)
    write_text(asked.out / "table.md", pages.markdown(content))
    write_text(asked.out / "table.csv", pages.csv_text(content))
    print(pages.terminal(content))
    print(f"\ntable.md and table.csv lie in {asked.out}")


def find(file: str, out: Path, given: dict[str, Any], stop: Stop, programs: Programs) -> None:
    """All trials of a search, and the best of them. Errors: SweepError, LockError."""
    wanted = space.checked(read.called(file, "get_search"), Path(file))
    read.given_errors(given)
    sampler = programs.sampler(wanted.ranges, wanted.seed)
    ended = search.run(file, wanted, out, given, stop, sampler, programs.train)
    print(search.best(ended, wanted, given))


if __name__ == "__main__":
    ending.run(lambda: main(sys.argv[1:]))
