"""The paper's Figure 5: photographs of the test split with the highest and the lowest predicted mean.

    python -m experiments.fig5 WORKDIR [WORKDIR ...] --out=DIR [--count=8]

Several workdirs are the folds of one data set. Below each photograph stand the predicted histogram (bars) and the true
one (line), with both means. Writes fig5.png and fig5.svg.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtp.config import configured, flat
from mtp.data.load import load
from mtp.data.schema import DataError
from mtp.files import DamagedFileError, read_json
from mtp.report import plots
from mtp.report.plots import Rated
from mtp.workdirs import UsageError

COUNT = 8


class Tested(NamedTuple):
    """A test picture: its workdir and name, and both histograms (K,)."""

    workdir: Path
    image: str
    predicted: np.ndarray
    truth: np.ndarray

    @property
    def mean(self) -> float:
        """The predicted mean, in ratings."""
        return float(self.predicted @ np.arange(1, len(self.predicted) + 1))


def tested(workdir: Path) -> list[Tested]:
    """The test pictures of a finished run. Errors: UsageError where it is none, or predicts no distribution."""
    results = read_json(workdir / "results.json")
    if results is None:
        raise UsageError(f"{workdir} must be a finished workdir; it has no results.json")
    if "distribution" not in results["config"]["model"]["tasks"]:
        raise UsageError(f"{workdir} must predict distributions; it was trained on other tasks alone")
    ratings = range(1, len(results["mean_histogram"]) + 1)
    with (workdir / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return [
            Tested(
                workdir,
                line["image"],
                *(np.array([float(line[f"{kind}_{k}"]) for k in ratings]) for kind in ("pred", "truth")),
            )
            for line in csv.DictReader(file)
        ]


def rated(pictures: Sequence[Tested]) -> list[Rated]:
    """The same with their pixels."""
    pixels: dict[tuple[Path, str], np.ndarray] = {}
    for workdir in dict.fromkeys(each.workdir for each in pictures):
        results = read_json(workdir / "results.json")
        config = configured(flat((results or {})["config"]))
        dataset = load(config.data)
        places = {name: number for number, name in enumerate(dataset.images)}
        for each in pictures:
            if each.workdir == workdir:
                number, limit = places[each.image], config.data.max_decode_pixels
                pixels[workdir, each.image] = dataset.pixels(number, limit)
    return [Rated(pixels[p.workdir, p.image], p.predicted, p.truth) for p in pictures]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.fig5", allow_abbrev=False)
    parser.add_argument("workdirs", type=Path, nargs="+", help="finished runs")
    parser.add_argument("--out", type=Path, required=True, help="folder of fig5.png and fig5.svg")
    parser.add_argument("--count", type=int, default=COUNT, help="photographs of either kind")
    given = parser.parse_args(arguments)
    found = sorted((each for workdir in given.workdirs for each in tested(workdir)), key=lambda t: -t.mean)
    if not 1 <= given.count <= len(found) // 2:
        raise UsageError(
            f"--count must be between 1 and {len(found) // 2}, half of the test pictures; it is {given.count}"
        )
    rows = {
        "highest predicted": rated(found[: given.count]),
        "lowest predicted": rated(found[: -given.count - 1 : -1]),
    }
    written = plots.save(plots.rated_pictures(rows), given.out, "fig5")
    for name, pictures in rows.items():
        means = [np.arange(1, len(p.truth) + 1) @ np.array([p.predicted, p.truth]).T for p in pictures]
        predicted, true = np.mean(means, axis=0)
        print(f"{name}: mean of {len(pictures)} photographs {predicted:.2f}, as voted {true:.2f}")
    print("wrote " + ", ".join(map(str, written)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (DataError, DamagedFileError, UsageError, OSError, plots.PlotError) as error:
        sys.exit(f"error: {error}")
