"""Figures for papers and pages. They need matplotlib, which nothing else does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, GREY = "#3b6ea5", "#555555"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mtp",  # the same figure is the same file
}
MARK: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8, "color": GREY}


class PlotError(RuntimeError):
    """matplotlib is not installed; the message says how to get it."""


def histograms(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]], ordinate: str, marks: Sequence[int] = ()
) -> Figure:
    """Histograms side by side: abscissa's label -> (values, edges of the bins).

    marks: percentiles of the values, drawn as lines and named above them. Errors: PlotError.
    """
    matplotlib = _matplotlib()
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(4.6 * len(panels), 3.4), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (label, (values, edges)) in zip(axes, panels.items(), strict=True):
            axis.hist(values, edges, color=BLUE, edgecolor="white", linewidth=0.4)
            axis.set(xlabel=label, xlim=(edges[0], edges[-1]))
            for mark in marks:
                place = float(np.percentile(values, mark))
                axis.axvline(place, color=GREY, linewidth=0.8, linestyle="--")
                above = axis.get_xaxis_transform()
                axis.text(place, 1.02, f"{mark:g} %\n{place:.2f}", transform=above, **MARK)
        axes[0].set_ylabel(ordinate)
    return figure


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """`name`.png (200 dots an inch) and `name`.svg in the folder, which is made where there is none."""
    matplotlib = _matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with matplotlib.rc_context(STYLE):
        figure.savefig(paths[0], dpi=200)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _matplotlib():
    try:
        import matplotlib
        import matplotlib.figure
    except ModuleNotFoundError as error:
        raise PlotError('figures need matplotlib; install it: pip install "matplotlib>=3.11,<4"') from error
    return matplotlib
