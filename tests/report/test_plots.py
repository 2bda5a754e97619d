"""Figures: what is drawn where."""

import numpy as np

from mtp.report import plots


def test_bars_labels_and_percentiles():
    values, edges = np.array([0.5, 1.5, 1.6, 2.5]), np.array([0.0, 1, 2, 3])
    figure = plots.histograms({"a": (values, edges), "b": (values * 2, edges * 2)}, "images", marks=(50,))
    first, second = figure.axes
    assert [bar.get_height() for bar in first.patches] == [1, 2, 1]
    assert (first.get_xlabel(), second.get_xlabel(), first.get_ylabel()) == ("a", "b", "images")
    assert first.get_xlim() == (0, 3) and second.get_xlim() == (0, 6)
    assert first.lines[0].get_xdata()[0] == 1.55
    assert first.texts[0].get_text() == "50 %\n1.55"


def test_the_same_figure_is_the_same_file(tmp_path):
    def drawn(folder):
        figure = plots.histograms({"a": (np.arange(9.0), np.arange(10.0))}, "images")
        return [path.read_bytes() for path in plots.save(figure, tmp_path / folder, "x")]

    png, svg = drawn("one")
    assert drawn("two") == [png, svg] and png.startswith(b"\x89PNG") and b">images<" in svg
