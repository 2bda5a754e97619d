"""Pages of the paper's Tables 1 to 3 from the folder of a sweep."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.sweep.opened import opened
from experiments.sweep.plan import SweepError
from experiments.tables import paper_tables
from experiments.tables.blocks import Block, Heading, Table, Text, markdown
from experiments.tables.paper_tables import Content, Grid
from mtp.config import ConfigError
from mtp.files import DamagedFileError, write_text
from mtp.processes import ending
from mtp.report.tables import of_demo

TITLES = {
    1: "Table 1: distances of distributions",
    2: "Table 2: two categories",
    3: "Table 3: the input's size",
}
GRIDS: Mapping[int, Callable[[Content], Grid]] = {
    1: paper_tables.table_1, 2: paper_tables.table_2, 3: paper_tables.table_3,
}  # fmt: skip
PROTOCOLS = {2: paper_tables.PROTOCOL_2, 3: paper_tables.PROTOCOL_3}
PRINTED_NOTE = (
    "Printed numbers are the paper's, on AVA, in its own set-up: on other data and under other presets they cannot be "
    "compared. Its EMD's exponent is not said."
)


def blocks(content: Mapping[str, Any], table: int) -> list[Block]:
    """One table, with what has to be known to read it. Errors: SweepError where no row is finished."""
    if not content["rows"]:
        raise SweepError(f"{content['file']}: no seed of any row is finished yet; run the sweep first")
    lines = [*described(content), "mean over seeds ± standard deviation over seeds [95 % interval]"]
    lines += [paper_tables.kept(content)] if table == 2 else []
    notes = [*filter(None, [PROTOCOLS.get(table)]), PRINTED_NOTE]
    return [
        Heading(2, TITLES[table]),
        Text(lines),
        Table(*GRIDS[table](content)),
        *(Text([note]) for note in notes),
    ]


def described(content: Mapping[str, Any]) -> list[str]:
    """Which pictures a sweep's tables are of."""
    about = content["about"]
    where = f"{about['pictures']} pictures" + (f" in {about['groups']} groups" if about["groups"] else "")
    hashes = ", ".join(sha[:12] for sha in about["sha256"])
    lines = [f"{content['file']}: {about['split']} split, {where}, sha256 {hashes}"]
    if about["demo_code"]:
        lines.append(of_demo(about["demo_code"]))
    return lines


def main(arguments: Sequence[str], table: int) -> None:
    """The command line of table2 and table3."""
    parser = argparse.ArgumentParser(f"experiments.table{table}", allow_abbrev=False)
    parser.add_argument("sweep", type=Path, help="the folder of a sweep")
    parser.add_argument("--out", type=Path, help=f"folder of table{table}.md; default: the sweep's")
    given = parser.parse_args(arguments)
    with ending.in_a_line(SweepError, ConfigError, DamagedFileError):
        text = markdown(blocks(opened(given.sweep), table))
        out = given.out or given.sweep
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / f"table{table}.md", text)
        print(text)
