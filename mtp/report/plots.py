"""Figures for papers and pages. They need matplotlib, which nothing else does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, GREY = "#3b6ea5", "#555555"
KINDS = (GREY, BLUE, "#b3562c", "#3f7f4f")  # of rows, in the order of their first one
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mtp",  # the same figure is the same file
}
MARK: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8, "color": GREY}


class Interval(NamedTuple):
    """A row of a table by name and kind, with a metric's value and its interval, or None where it has none."""

    name: str
    kind: str
    value: float
    low: float | None
    high: float | None


class Rated(NamedTuple):
    """A picture (H, W, 3), and the predicted and the true histogram (K,) of its ratings."""

    pixels: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray


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


def values_with_intervals(
    rows: Sequence[Interval], abscissa: str, title: str, mark: float | None = None
) -> Figure:
    """A line a row, the first one at the top: its value and its 95 % interval, coloured by kind.

    mark: a value that is drawn as a line through all of them. Errors: PlotError.
    """
    matplotlib = _matplotlib()
    kinds = list(dict.fromkeys(row.kind for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(7.5, 1.2 + 0.3 * len(rows)), layout="constrained")
        axis = figure.subplots()
        if mark is not None:
            axis.axvline(mark, color=GREY, linewidth=0.8)
        for place, row in enumerate(reversed(rows)):
            colour = KINDS[kinds.index(row.kind)]
            if row.low is not None and row.high is not None:
                axis.plot([row.low, row.high], [place, place], color=colour, linewidth=2, alpha=0.6)
            axis.plot(row.value, place, "o", color=colour, markersize=5, label=row.kind)
        axis.set_yticks(range(len(rows)), [row.name for row in reversed(rows)])
        axis.set_xlabel(abscissa)
        axis.set_title(title, loc="left", fontsize=10)
        axis.grid(axis="x", alpha=0.3)
        handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        axis.legend([handles[kind] for kind in kinds], kinds, frameon=False, loc="best")
    return figure


def side_by_side(pictures: Mapping[str, np.ndarray]) -> Figure:
    """Pictures (H, W, 3) beside one another, all at one scale, with their titles. Errors: PlotError."""
    matplotlib = _matplotlib()
    widths = [picture.shape[1] for picture in pictures.values()]
    highest = max(picture.shape[0] for picture in pictures.values())
    inches = 11 / sum(widths)
    with matplotlib.rc_context(STYLE):
        size = (11 + 0.15 * len(widths), highest * inches + 0.7)
        figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(1, len(widths), width_ratios=widths)
        for place, (title, picture) in enumerate(pictures.items()):
            axis = figure.add_subplot(grid[place])
            axis.imshow(picture, interpolation="antialiased")
            axis.set_title(title, fontsize=9)
            # one scale for all: the space below a lower picture stays empty
            axis.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(highest - 0.5, -0.5))
            axis.axis("off")
    return figure


def rated_pictures(rows: Mapping[str, Sequence[Rated]]) -> Figure:
    """Rows of pictures by title; below each its predicted histogram as bars and the true one as a line.

    Errors: PlotError.
    """
    matplotlib = _matplotlib()
    columns = max(map(len, rows.values()))
    most = max(max(p.predicted.max(), p.truth.max()) for pictures in rows.values() for p in pictures)
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(1.75 * columns, 3.3 * len(rows)), layout="constrained")
        parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        for part, (title, pictures) in zip(parts, rows.items(), strict=True):
            part.suptitle(title, fontsize=11)
            axes = part.subplots(2, columns, squeeze=False, height_ratios=(2, 1))
            for place in range(columns):
                for axis in axes[:, place]:
                    axis.set(xticks=[], yticks=[])
                if place >= len(pictures):
                    axes[0, place].axis("off")
                    axes[1, place].axis("off")
                    continue
                _draw_rated(axes[0, place], axes[1, place], pictures[place], most)
    return figure


def _draw_rated(above: Any, below: Any, picture: Rated, most: float) -> None:
    ratings = np.arange(1, len(picture.truth) + 1)
    above.imshow(picture.pixels, interpolation="antialiased")
    above.axis("off")
    below.bar(ratings, picture.predicted, width=0.8, color=BLUE)
    below.step(ratings, picture.truth, where="mid", color="black", linewidth=1.0)
    below.set(ylim=(0, 1.1 * most), xticks=ratings[[0, -1]])
    below.set_title(
        f"{ratings @ picture.predicted:.2f} predicted\n{ratings @ picture.truth:.2f} voted", fontsize=8
    )


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
