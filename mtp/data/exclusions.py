"""Pictures that a data folder's own excluded.csv leaves out: columns image,reason, a line a picture."""

import csv
from collections.abc import Mapping
from pathlib import Path

from mtp import files
from mtp.data import csv_text
from mtp.data.schema import DataError
from mtp.names import exact, harmless

NAME = "excluded.csv"
HEADER = ("image", "reason")


def read(folder: Path) -> dict[str, str]:
    """Why each picture is left out, by its name as in `Dataset.images`; nothing where there is no such file.

    Errors: DataError where the header or a line is not image,reason.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    lines = csv_text.rows(csv_text.decoded(path.read_bytes(), path), path)
    rows = [(line.number, [cell.strip() for cell in line.cells]) for line in lines]
    if not rows or tuple(rows[0][1]) != HEADER:
        found = ",".join(rows[0][1]) if rows else "nothing"
        raise DataError(
            f"{path} must begin with the columns image,reason; it has {found}. Remove it or fix it"
        )
    wrong = [line for line, row in rows[1:] if len(row) != len(HEADER) or not row[0]]
    if wrong:
        raise DataError(f"{path}: a line is a picture's name and a reason; line {wrong[0]} is not")
    return {exact(row[0]): exact(row[1]) for _, row in rows[1:]}


def write(folder: Path, reasons: Mapping[str, str]) -> Path:
    """The whole list, sorted by picture; it is never half there. A spreadsheet computes nothing in it."""
    path = folder / NAME
    with files.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows((harmless(image), harmless(reason)) for image, reason in sorted(reasons.items()))
    return path


def announcement(left_out: int) -> str:
    """What a loader says of the pictures that it dropped."""
    return f"{left_out} picture{'s' * (left_out != 1)} left out by {NAME}"
