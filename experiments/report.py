"""One page of all tables and figures of finished sweeps: every number beside the printed and the published ones.

    python -m experiments.report SWEEP [SWEEP ...] --out=DIR [--table1 DIR ...] [--figures FILE.png ...]

SWEEP: the folder of a sweep (docs/sweeps.md); its collected results are enough. Writes report.md, with its figures
beside it, and report.html, which holds everything in one file. --table1: what `experiments.table1` left, with the
label-distribution learners. --figures: further pictures, such as fig1.png and fig5.png of `experiments.fig1` and
`experiments.fig5`.
"""

import argparse
import io
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.sweep import pages
from experiments.sweep.opened import opened
from experiments.sweep.plan import SweepError
from experiments.tables import paper_pages
from experiments.tables.blocks import Block, Command, Heading, Picture, Table, Text, markdown, page
from experiments.tables.printed import PUBLISHED
from mtp.config import ConfigError
from mtp.files import DamagedFileError, read_json, write_text
from mtp.processes import ending
from mtp.report import comparison, plots
from mtp.report.plots import Interval
from mtp.workdirs import UsageError

TITLE = "Tables and figures"
VERDICTS = ("better", "worse", "no difference shown")


def of_sweep(out: Path) -> list[Block]:
    """The three tables of a sweep, its differences, what is not finished, and a figure."""
    content = opened(out)
    blocks: list[Block] = [Heading(1, f"{content['file']}, {out.name}")]
    for table in paper_pages.GRIDS:
        command = f"python -m experiments.table{table} {out}" if table > 1 else of_table(content, out)
        blocks += [*paper_pages.blocks(content, table), Command(command)]
    if content["claims"]:
        heading, cells = pages.claims(content)
        blocks += [Heading(2, "Differences"), Text([heading]), Table(*cells), Command(of_table(content, out))]
        blocks += _figure_of_differences(content, out)
    return [*blocks, *_unfinished(content), *_figure(content, out)]


def _unfinished(content: Mapping[str, Any]) -> list[Block]:
    """How many jobs are to come, and each that has failed or is refused, with its reason."""
    left = content["unfinished"]
    if not left:
        return []
    counts = Counter(state for _, state, _ in left)
    body = [
        [name, state, why.replace("\n", " ")] for name, state, why in left if state in ("failed", "refused")
    ]
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    return [Text([f"Not in the tables: {said}"]), *([Table(pages.HEADER, body)] if body else [])]


def of_table(content: Mapping[str, Any], out: Path) -> str:
    """The command of a sweep's own table."""
    return f"python -m experiments.sweep table {content['file']} --out={out}"


def _figure(content: Mapping[str, Any], out: Path) -> list[Block]:
    claim = content["sweep"].claim
    measured = [(row, row["metrics"][claim]) for row in content["rows"] if claim in row["metrics"]]
    rows = [Interval(r["row"], r["kind"], c["value"], c["low"], c["high"]) for r, c in measured]
    what = f"{claim} of every row of {content['file']}"
    return _drawn(rows, f"{claim}, 95 % interval", _title(content), f"{out.name}.png", what)


def _figure_of_differences(content: Mapping[str, Any], out: Path) -> list[Block]:
    sweep = content["sweep"]
    rows = [
        Interval(
            c["row"],
            c["verdict"] if c["verdict"] in VERDICTS else "no verdict",
            c["value"],
            c["low"],
            c["high"],
        )
        for c in pages.named_claims(content)
    ]
    abscissa = f"difference of {sweep.claim} to {sweep.compared_with}, or of two rows; 95 % interval"
    what = f"differences of {sweep.claim}, {content['file']}"
    return _drawn(rows, abscissa, _title(content), f"{out.name}_differences.png", what, mark=0.0)


def _title(content: Mapping[str, Any]) -> str:
    return f"{content['file']}, {content['about']['pictures']} test pictures"


def _drawn(
    rows: Sequence[Interval], abscissa: str, title: str, name: str, what: str, mark: float | None = None
) -> list[Block]:
    """The figure, or why there is none."""
    try:
        figure = plots.values_with_intervals(rows, abscissa, title, mark)
    except plots.PlotError as error:
        return [Text([f"no figure: {error}"])]
    file = io.BytesIO()
    figure.savefig(file, dpi=120, format="png", metadata={"Software": None})
    return [Picture(name, file.getvalue(), what)]


def of_learners(out: Path) -> list[Block]:
    """Table 1 with the label-distribution learners, and its differences. Errors: UsageError where there is none."""
    content = read_json(out / "table1.json")
    if content is None:
        raise UsageError(
            f"--table1 must be the folder that experiments.table1 left; {out} has no table1.json"
        )
    seeds = {row["row"]: "" if row["seeds"] is None else str(row["seeds"]) for row in content["rows"]}
    title = f"Table 1 with learners, {Path(content['data']).name}"
    return [
        Heading(1, title),
        Text(comparison.caption(content)),
        Table(*comparison.cells(content, with_interval=True)),
        Text([f"Difference of {content['config']['claim']} to {content['config']['compared_with']}:"]),
        Table(*comparison.claim_cells(content["claims"], seeds)),
        Command(content["command"]),
    ]


def published() -> list[Block]:
    """What others have published on AVA."""
    header = ["method", "SRCC", "PLCC", "accuracy, delta 0", "split", "source"]
    body = [
        [
            p.method,
            *("" if v is None else f"{v:.3f}" for v in (p.srcc, p.plcc)),
            "" if p.accuracy is None else f"{p.accuracy / 100:.3f}",
            p.split,
            p.source,
        ]
        for p in PUBLISHED
    ]
    note = "Numbers on different splits of AVA, and on other data, cannot be compared."
    return [Heading(1, "Published on AVA"), Table(header, body), Text([note])]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        "experiments.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweeps", type=Path, nargs="+", metavar="SWEEP", help="folders of sweeps")
    parser.add_argument("--out", type=Path, required=True, help="folder of report.md and report.html")
    parser.add_argument("--table1", type=Path, nargs="*", default=[], help="folders of experiments.table1")
    parser.add_argument("--figures", type=Path, nargs="*", default=[], help="further PNG files")
    given = parser.parse_args(arguments)
    with ending.in_a_line(SweepError, UsageError, ConfigError, DamagedFileError):
        blocks: list[Block] = [Heading(1, TITLE)]
        for out in given.sweeps:
            blocks += of_sweep(out)
        for out in given.table1:
            blocks += of_learners(out)
        if given.figures:
            blocks.append(Heading(1, "Figures"))
            blocks += [Picture(path.name, path.read_bytes(), path.stem) for path in given.figures]
        blocks += [*published(), Command(f"python -m experiments.report {shlex.join(arguments)}")]
        given.out.mkdir(parents=True, exist_ok=True)
        for block in blocks:
            if isinstance(block, Picture):
                (given.out / block.name).write_bytes(block.content)
        write_text(given.out / "report.md", markdown(blocks))
        write_text(given.out / "report.html", page(TITLE, blocks))
        print(f"report.md and report.html lie in {given.out}")


if __name__ == "__main__":
    ending.run(lambda: main(sys.argv[1:]))
