"""Figure 1: what each square keeps of a picture."""

import numpy as np
import pytest
from PIL import Image

from experiments import fig1
from mtp.workdirs import UsageError


@pytest.mark.parametrize(("height", "width"), [(300, 400), (64, 500), (90, 30), (224, 224)])
def test_every_square_keeps_what_is_said(height, width):
    side = 60
    # a pixel's number in its colour
    numbers = np.arange(height * width)
    picture = np.stack([numbers % 251, numbers // 251 % 251, numbers // 251**2 + 1], -1).astype(np.uint8)
    shown = fig1.treatments(picture.reshape(height, width, 3), side)
    assert {name: each.shape for name, each in shown.items() if name != "original"} == dict.fromkeys(
        ("crop", "warp", "pad"), (side, side, 3)
    )
    lines = dict(line.split(": ", 1) for line in fig1.described(shown, side))
    if min(height, width) >= side:
        kept = len(np.unique(shown["crop"].reshape(-1, 3), axis=0)) / (height * width)
        assert f"{kept:.0%} of the pixels" in lines["crop"]
    assert f"by a factor of {width / height:.2f}" in lines["warp"]
    black = np.all(shown["pad"] == 0, axis=-1).mean()
    longer = max(height, width)
    assert black == pytest.approx(1 - min(height, width) / longer, abs=1.5 / side)


def test_the_command_writes_the_figure(tmp_path, capsys):
    Image.new("RGB", (300, 200), (200, 100, 50)).save(tmp_path / "a.png")
    fig1.main([str(tmp_path / "a.png"), f"--out={tmp_path}/out", "--side=64"])
    printed = capsys.readouterr().out
    assert "original: 300x200" in printed and "crop: 64x64" in printed
    svg = (tmp_path / "out" / "fig1.svg").read_text()
    assert all(f">{name}<" in svg for name in ("original", "crop", "warp", "pad"))


@pytest.mark.parametrize("side", [-3, 0, 31, 20000])
def test_a_side_that_cannot_be_drawn_is_an_error(side, tmp_path):
    with pytest.raises(UsageError, match=f"--side must be between 32 and 4096 pixels; it is {side}"):
        fig1.main(["any.png", f"--out={tmp_path}", f"--side={side}"])
