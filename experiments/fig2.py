"""The paper's Figure 2: how much raters differ.  python -m experiments.fig2 --votes=FILE_OR_FOLDER --out=DIR

Histograms of the variance and of the standard deviation of each picture's ratings; the ordinate is the number of
images. FILE_OR_FOLDER: a folder with votes.csv, an AVA download, or a label file of any shape that mtp reads
(votes.csv, AVA.txt, CSV or JSON with ten counts a picture); no picture is looked at. Writes fig2.png, fig2.svg and
fig2.csv, one line a bin. A few seconds for all of AVA.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mtp.data import faults
from mtp.data.ava import files as ava_files
from mtp.data.ava import label_formats
from mtp.data.schema import DataError
from mtp.data.votes import table as votes_csv
from mtp.ratings import histograms, mean_and_std
from mtp.report import plots

BINS = {
    "variance": 200,
    "standard deviation": 90,
}  # from 0 to the most that a scale allows; AVA: .1 and .05 wide
MARKS = (5, 50, 95)  # percentiles


def read(path: Path) -> np.ndarray:
    """(N, K) counts of the ratings 1..K. Errors: DataError where there is no such file, or it has bad rows."""
    if path.is_dir():
        inside = path / "votes.csv"
        found = inside if inside.is_file() else ava_files.find(path, "AVA.txt")
        if found is None:
            raise DataError(f"{path} must hold votes.csv or AVA.txt; it holds neither")
        path = found
    if not path.is_file():
        raise DataError(
            f"--votes must be a label file, or a folder with votes.csv or AVA.txt; {path} is none"
        )
    if not _is_votes_csv(path):
        labels = label_formats.read(path)
        ava_files.insist(path, labels.faults)
        return labels.rows.votes
    table = votes_csv.read(path.parent, path.name, "group", ())
    # votes alone matter here, the pictures may lie elsewhere
    bad = [
        fault for fault in table.faults if fault.kind in (faults.BAD_ROW, faults.BAD_VOTES, faults.NO_VOTES)
    ]
    if bad:
        raise DataError(f"{path}: {len(bad)} bad rows, the first is {bad[0]}")
    return np.array([[int(row[c]) for c in table.columns.votes] for row in table.rows], np.int64)


def _is_votes_csv(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return {"image", "c1", "c2"} <= {cell.strip() for cell in file.readline().split(",")}


def panels(votes: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The abscissa's label -> (values, edges of bins) for variances and standard deviations (in ratings)."""
    deviation = mean_and_std(histograms(votes))[1]
    # half of the raters at either end of the scale
    most = (votes.shape[1] - 1) / 2
    # rounding may lead a hair beyond
    deviation = np.minimum(deviation, most)
    measured = (("variance", deviation**2, most**2), ("standard deviation", deviation, most))
    return {
        name: (values, _trimmed(values, np.linspace(0, limit, BINS[name] + 1)))
        for name, values, limit in measured
    }


def _trimmed(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The edges from 0 to the bin of the largest value."""
    return edges[: int(np.searchsorted(edges, values.max())) + 1] if values.max() > 0 else edges[:2]


def table(drawn: dict[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[str, float, float, int]]:
    """quantity, low and high edge, images: what the figure shows."""
    for name, (values, edges) in drawn.items():
        for low, high, count in zip(edges, edges[1:], np.histogram(values, edges)[0], strict=False):
            yield name, round(float(low), 4), round(float(high), 4), int(count)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.fig2", allow_abbrev=False)
    parser.add_argument("--votes", type=Path, required=True, help="label file, or folder of a data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of fig2.png, fig2.svg and fig2.csv")
    options = parser.parse_args(arguments)
    drawn = panels(read(options.votes))
    written = plots.save(plots.histograms(drawn, "number of images", MARKS), options.out, "fig2")
    written.append(options.out / "fig2.csv")
    with written[-1].open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["quantity", "low", "high", "images"])
        writer.writerows(table(drawn))
    for name, (values, _) in drawn.items():
        low, middle, high = np.percentile(values, MARKS)
        print(
            f"{name} of {len(values)} images: median {middle:.2f}, 5th percentile {low:.2f}, 95th {high:.2f}"
        )
    print("wrote " + ", ".join(map(str, written)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (DataError, plots.PlotError) as error:
        sys.exit(f"error: {error}")
