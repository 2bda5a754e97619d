"""Table 1 as a picture: a line a row, its value and 95 % interval."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtp.report import plots
from mtp.report.plots import Interval


def save(content: Mapping[str, Any], path: Path) -> str:
    """Draws the claims' metric; says where, or that matplotlib is missing."""
    metric = content["config"]["claim"]
    cells = [(row, row["metrics"][metric]) for row in content["rows"]]
    rows = [Interval(row["row"], row["kind"], c["value"], c["low"], c["high"]) for row, c in cells]
    title = f"{content['data']}, {content['pictures']['test']} test pictures"
    try:
        figure = plots.values_with_intervals(rows, f"{metric} (lower is better), 95 % interval", title)
    except plots.PlotError as error:
        return f"no plot: {error}"
    figure.savefig(path, dpi=150)
    return f"table1.png in {path.parent}"
