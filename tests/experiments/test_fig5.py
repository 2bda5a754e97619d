"""Figure 5: the right pictures, each with its own histograms."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from experiments import fig5
from mtp.config import get_config
from mtp.workdirs import UsageError

PREDICTED = {"a": 1.5, "b": 2.5, "c": 1.1, "d": 2.9}


def workdir(tmp_path, tasks=("distribution",)):
    """A folder of pictures, each of its own colour, and a run that predicts their means."""
    photos, run = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    run.mkdir()
    (photos / "votes.csv").write_text(
        "image,c1,c2,c3,split\n" + "".join(f"{n}.png,1,2,{i},test\n" for i, n in enumerate(PREDICTED))
    )
    for number, name in enumerate(PREDICTED):
        Image.new("RGB", (60, 40), (number, 0, 0)).save(photos / f"{name}.png")
    config = get_config()
    config.data.dir, config.model.tasks = str(photos), tasks
    content = {"config": json.loads(config.to_json()), "mean_histogram": [0.2, 0.3, 0.5]}
    (run / "results.json").write_text(json.dumps(content))
    columns = ["image", *(f"{kind}_{k}" for kind in ("pred", "truth") for k in (1, 2, 3))]
    with (run / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for name, mean in PREDICTED.items():
            share = (mean - 1) / 2
            writer.writerow([f"{name}.png", 1 - share, 0, share, 0.25, 0.25, 0.5])
    return run


def test_the_highest_and_the_lowest_with_their_own_pixels(tmp_path, capsys):
    run = workdir(tmp_path)
    found = sorted(fig5.tested(run), key=lambda each: -each.mean)
    assert [each.image[0] for each in found] == ["d", "b", "a", "c"]
    pixels = [each.pixels[0, 0, 0] for each in fig5.rated(found)]
    assert pixels == [3, 1, 0, 2]
    fig5.main([str(run), f"--out={tmp_path}/out", "--count=2"])
    printed = capsys.readouterr().out
    assert "highest predicted: mean of 2 photographs 2.70, as voted 2.25" in printed
    assert "lowest predicted: mean of 2 photographs 1.30, as voted 2.25" in printed
    svg = (tmp_path / "out" / "fig5.svg").read_text()
    assert svg.index(">2.90 predicted<") < svg.index(">2.50 predicted<") < svg.index(">1.10 predicted<")


def test_what_cannot_be_drawn_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"has no results\.json"):
        fig5.main([str(tmp_path), f"--out={tmp_path}/out"])
    run = workdir(tmp_path)
    with pytest.raises(UsageError, match="between 1 and 2, half of the test pictures; it is 3"):
        fig5.main([str(run), f"--out={tmp_path}/out", "--count=3"])
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="trained on other tasks alone"):
        fig5.tested(workdir(tmp_path / "other", ("two_category",)))


def test_histograms_are_those_of_the_file(tmp_path):
    first = fig5.tested(workdir(tmp_path))[0]
    np.testing.assert_allclose(first.predicted, [0.75, 0, 0.25])
    np.testing.assert_allclose(first.truth, [0.25, 0.25, 0.5])
