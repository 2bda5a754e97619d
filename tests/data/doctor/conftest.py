"""Folders of generated pictures that are all different, and the doctor's findings as a table."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Findings = dict[str, set[str]]


@pytest.fixture
def draw() -> Callable[[int], Image.Image]:
    """A picture of 90x60 that looks like no other number's."""

    def of(number: int) -> Image.Image:
        coarse = np.random.default_rng(number).integers(0, 256, (6, 9, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((90, 60), Image.Resampling.BICUBIC)

    return of


@pytest.fixture
def findings() -> Callable[[Path], Findings]:
    """doctor.json of a folder -> kind -> pictures."""

    def of(out: Path) -> Findings:
        content = json.loads((out / "doctor.json").read_text())
        for kind in content["faults"]:
            assert kind["count"] == len(kind["found"])
        return {kind["kind"]: {found["image"] for found in kind["found"]} for kind in content["faults"]}

    return of
