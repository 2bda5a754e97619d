"""The demo set: generated pictures with votes, as an ordinary votes folder. Synthetic, and said so everywhere.

Its quality depends on where the subject lies, its focus, its colour against the background, clutter and aspect,
not on mean colours, so that a model must look at the picture. Ratings are drawn voter by voter so that the
histograms look like AVA's.
"""

import csv
import hashlib
import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from mtp.data.demo import scene as demo_scene
from mtp.data.demo import styles as demo_styles
from mtp.processes import lock, workers

LOCK, BUILDING = "demo.lock", "-building"
RATINGS = 10
MEAN_RATING, SPREAD = 5.4, 1.05  # of the pictures' mean ratings; AVA: 5.38, .73


def code_hash() -> str:
    """SHA-256 of the generator's source: pictures are the same where it is."""
    digest = hashlib.sha256()
    for source in (Path(__file__), Path(demo_scene.__file__), Path(demo_styles.__file__)):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def prepare(
    cache: Path, *, pictures: int = 3000, seed: int = 0, integrity: float = 1.0, styled: float = 0.5
) -> Path:
    """The folder of the generated set with these options, built on first use by one process; others wait for it.

    styled: share of pictures with a style label. It appears under its name only when it is complete.
    """
    options = {"pictures": pictures, "seed": seed, "integrity": integrity, "styled": styled}
    key = hashlib.sha256((json.dumps(options) + code_hash()).encode()).hexdigest()
    folder = cache / f"demo-{key[:12]}"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with lock.alone(cache / LOCK, wait=True):
        for left in cache.glob(f"demo-*{BUILDING}*"):
            shutil.rmtree(left)
        if not folder.exists():
            building = folder.with_name(folder.name + BUILDING)
            try:
                _build(building, pictures, seed, integrity, styled)
                os.sync()  # on the disk before the rename
                building.rename(folder)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return folder


def _build(folder: Path, pictures: int, seed: int, integrity: float, styled: float) -> None:
    (folder / "images").mkdir(parents=True)
    make = partial(_make, folder, seed, integrity, styled)
    with workers.pool(os.cpu_count() or 1) as pool:
        made = pool.map(make, range(pictures), chunksize=50)
        rows = list(tqdm(made, total=pictures, desc="generating the demo set", unit="picture", disable=None))
    with (folder / "votes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _make(folder: Path, seed: int, integrity: float, styled: float, number: int) -> dict[str, object]:
    """Draw, render and rate one picture; its row of the CSV."""
    rng = np.random.default_rng([seed, number])
    scene = demo_scene.draw_scene(rng)
    name = f"{number:05d}.jpg"
    Image.fromarray(demo_scene.render(scene, rng)).save(folder / "images" / name, quality=92)
    quality = scene.quality(integrity) / _quality_std(integrity)
    votes = rate(quality, rng)
    split = rng.choice(["train", "validation", "test"], p=[0.8, 0.1, 0.1])
    latent = {name: round(getattr(scene, name), 4) for name in ("place", "sharp", "vivid", "calm", "fit")}
    return {
        "image": name,
        **{f"c{k + 1}": int(n) for k, n in enumerate(votes)},
        "split": split,
        "style": scene.style if rng.random() < styled else "",
        "quality": round(quality, 4),
        **latent,
    }


def _quality_std(integrity: float) -> float:
    """Standard deviation of `Scene.quality`: each factor is uniform on -1..1, variance 1/3."""
    weights = demo_scene.quality_weights(integrity).values()
    return float(np.sqrt(sum(w**2 for w in weights) / 3))


def rate(quality: float, rng: np.random.Generator) -> np.ndarray:
    """Votes (10,) of 100 to 400 raters on a picture of this quality (mean 0, deviation 1 over pictures).

    Raters scatter around the picture's mean by 1.35 ratings in the median; one picture in eight divides them.
    """
    voters = int(rng.integers(100, 401))
    mean = MEAN_RATING + SPREAD * quality
    scatter = rng.normal(0, rng.lognormal(np.log(1.33), 0.12), voters)
    if rng.random() < 0.125:
        scatter += rng.choice([-1, 1], voters) * rng.uniform(0.6, 1.2)
    ratings = np.clip(np.round(mean + scatter), 1, RATINGS).astype(int)
    return np.bincount(ratings - 1, minlength=RATINGS)
