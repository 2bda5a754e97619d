"""Table 1 as a picture: a line a row, its value and 95 % interval."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLOURS = {"reference": "#555555", "learner": "#3b6ea5", "deep": "#b3562c"}


def save(content: Mapping[str, Any], path: Path) -> str:
    """Draws the claims' metric; says where, or that matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        return "no plot: pip install matplotlib"
    from matplotlib.figure import Figure

    metric = content["config"]["claim"]
    rows = list(reversed(content["rows"]))
    figure = Figure(figsize=(7.5, 1.2 + 0.3 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for place, row in enumerate(rows):
        cell = row["metrics"][metric]
        colour = COLOURS[row["kind"]]
        axis.plot([cell["low"], cell["high"]], [place, place], color=colour, linewidth=2, alpha=0.6)
        axis.plot(cell["value"], place, "o", color=colour, markersize=5, label=row["kind"])
    axis.set_yticks(range(len(rows)), [row["row"] for row in rows])
    axis.set_xlabel(f"{metric} (lower is better), 95 % interval")
    axis.set_title(f"{content['data']}, {content['pictures']['test']} test pictures", loc="left", fontsize=10)
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    axis.legend(handles.values(), handles.keys(), frameon=False, loc="best")
    figure.savefig(path, dpi=150)
    return f"table1.png in {path.parent}"
