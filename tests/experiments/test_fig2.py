"""Figure 2: variances against closed forms, every shape of labels, what is written."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from experiments import fig2
from mtp.data.schema import DataError
from mtp.report import plots


def test_variances_and_deviations_are_those_of_the_ratings():
    votes = np.random.default_rng(0).integers(0, 30, (50, 7)) + 1
    drawn = fig2.panels(votes)
    ratings = [np.repeat(np.arange(1, 8), row) for row in votes]
    np.testing.assert_allclose(drawn["variance"][0], [r.var() for r in ratings])
    np.testing.assert_allclose(drawn["standard deviation"][0], [r.std() for r in ratings])


@pytest.mark.parametrize("votes", [[[0, 5, 0]], [[4, 0, 4]], [[1, 0, 0], [7, 0, 7], [2, 3, 4]]])
def test_every_image_falls_into_a_bin(votes):
    drawn = fig2.panels(np.array(votes))
    rows = list(fig2.table(drawn))
    for name in drawn:
        assert sum(images for quantity, _, _, images in rows if quantity == name) == len(votes)


def test_a_votes_folder_an_ava_file_and_a_csv_give_the_same(tmp_path):
    votes = np.random.default_rng(0).integers(0, 40, (30, 10)) + 1
    counts = [",".join(map(str, row)) for row in votes]
    names = ",".join(f"c{k}" for k in range(1, 11))
    folder, ava = tmp_path / "folder", tmp_path / "ava"
    folder.mkdir()
    ava.mkdir()
    (folder / "votes.csv").write_text(
        f"image,{names}\n" + "".join(f"{i:02d}.jpg,{c}\n" for i, c in enumerate(counts))
    )
    (ava / "AVA.txt").write_text(
        "".join(f"{i} {i} {' '.join(map(str, row))} 0 0 1\n" for i, row in enumerate(votes, 1))
    )
    (tmp_path / "x.csv").write_text(
        f"image_id,{names},source\n" + "".join(f"{i},{c},here\n" for i, c in enumerate(counts, 1))
    )
    for path in (folder, folder / "votes.csv", ava, ava / "AVA.txt", tmp_path / "x.csv"):
        np.testing.assert_array_equal(fig2.read(path), votes)


def test_the_command_writes_figure_and_table(tmp_path, capsys):
    (tmp_path / "votes.csv").write_text("image,c1,c2,c3\na.jpg,1,2,3\nb.jpg,4,0,4\nc.jpg,0,5,0\n")
    fig2.main([f"--votes={tmp_path}", f"--out={tmp_path}/out"])
    assert "variance of 3 images: median 0.56" in capsys.readouterr().out
    assert (tmp_path / "out" / "fig2.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "out" / "fig2.svg").read_text()
    for text in ("variance", "standard deviation", "number of images", "50 %"):
        assert f">{text}<" in svg
    with (tmp_path / "out" / "fig2.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["images"]) for row in rows if row["quantity"] == "variance") == 3
    first = svg
    fig2.main([f"--votes={tmp_path}", f"--out={tmp_path}/out"])
    assert (tmp_path / "out" / "fig2.svg").read_text() == first


def test_ava_is_as_published(shared_data):
    """Of 69,351 real histograms: the median variance and its 5th and 95th percentiles."""
    drawn = fig2.panels(fig2.read(shared_data / "ava" / "ava_union_votes.csv"))
    variance = drawn["variance"][0]
    assert len(variance) == 69_351
    np.testing.assert_allclose(np.percentile(variance, (5, 50, 95)), (1.24, 2.02, 3.17), atol=0.01)


def test_bad_labels_are_an_error_with_their_line(tmp_path):
    (tmp_path / "votes.csv").write_text("image,c1,c2\na.jpg,1,2\nb.jpg,1,-2\n")
    with pytest.raises(DataError, match=r"1 bad rows, the first is line 3: votes must be"):
        fig2.read(tmp_path)
    with pytest.raises(DataError, match=r"must hold votes\.csv or AVA\.txt"):
        (tmp_path / "empty").mkdir()
        fig2.read(tmp_path / "empty")
    done = subprocess.run(
        [sys.executable, "-m", "experiments.fig2", "--votes=nowhere", "--out=x"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.startswith("error: --votes must be a label file")


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(plots.PlotError, match="pip install"):
        plots.histograms({"x": (np.zeros(2), np.array([0.0, 1.0]))}, "n")
