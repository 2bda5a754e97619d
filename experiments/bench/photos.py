"""Folders of photographs with votes, made for measurements."""

from pathlib import Path

import numpy as np
from PIL import Image

from experiments.bench.ours import RATINGS


def photograph(height: int, width: int, rng: np.random.Generator) -> Image.Image:
    """Smooth shapes with fine grain; JPEGs of real photographs weigh .38 to .48 bytes a pixel."""
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    fine = Image.fromarray(rng.integers(0, 256, (height // 3, width // 3, 3), np.uint8)).resize(
        (width, height)
    )
    return Image.blend(coarse, fine, 0.13)


def votes_folder(folder: Path, sizes: np.ndarray, distinct: int = 16) -> Path:
    """A picture of each size (N, 2) with random votes, all in the training split but the last.

    distinct: how many pictures are drawn; the others are copies of their files.
    """
    rng = np.random.default_rng(0)
    lines, drawn = ["image,split," + ",".join(f"c{k}" for k in range(1, RATINGS + 1))], {}
    for number, (height, width) in enumerate(sizes):
        name = f"{number:05}.jpg"
        key = (height, width, number % distinct)
        if key in drawn:
            (folder / name).write_bytes(drawn[key])
        else:
            photograph(height, width, rng).save(folder / name, quality=90)
            drawn[key] = (folder / name).read_bytes()
        votes = ",".join(str(v) for v in rng.integers(1, 30, RATINGS))
        lines.append(f"{name},{'test' if number == len(sizes) - 1 else 'train'},{votes}")
    (folder / "votes.csv").write_text("\n".join(lines) + "\n")
    return folder
