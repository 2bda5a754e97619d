"""The generated set: seeded, AVA-shaped, and not solved at a glance."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from mtp.data.demo import generate as demo
from mtp.data.demo import scene as demo_scene
from mtp.data.votes import load as votes
from mtp.ratings import histograms, mean_and_std

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return demo.prepare(tmp_path_factory.mktemp("demo"), pictures=200, seed=3)


def test_same_seed_same_bytes_other_seed_others(small, tmp_path):
    again = demo.prepare(tmp_path / "a", pictures=200, seed=3)
    assert (again / "votes.csv").read_bytes() == (small / "votes.csv").read_bytes()
    assert (again / "images/00007.jpg").read_bytes() == (small / "images/00007.jpg").read_bytes()
    other = demo.prepare(tmp_path / "b", pictures=20, seed=4)
    assert (other / "images/00007.jpg").read_bytes() != (small / "images/00007.jpg").read_bytes()


def test_it_is_made_once(small, monkeypatch):
    monkeypatch.setattr(demo, "_build", lambda *_: pytest.fail("built twice"))
    assert demo.prepare(small.parent, pictures=200, seed=3) == small


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_build", stopped)
    with pytest.raises(KeyboardInterrupt):
        demo.prepare(tmp_path, pictures=5)
    assert not list(tmp_path.iterdir())


GENERATE = """
import sys
from pathlib import Path
from mtp.data.demo import generate
if __name__ == "__main__":
    print(generate.prepare(Path(sys.argv[1]), pictures=int(sys.argv[2])))
"""


def generating(cache, pictures):
    """A process of its own that generates."""
    return subprocess.Popen(
        [sys.executable, "-c", GENERATE, str(cache), str(pictures)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_a_killed_process_left_is_removed_and_its_workers_end(tmp_path):
    with generating(tmp_path, 20_000) as killed:
        while not list(tmp_path.glob("demo-*-building/images/*.jpg")):
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    (left,) = tmp_path.glob("demo-*-building/images")
    count = -1
    while (now := len(list(left.iterdir()))) != count:  # its workers may be in the middle of a picture
        count = now
        time.sleep(0.5)
    assert count < 20_000
    # two at once: one generates, the other waits for it
    two = [generating(tmp_path, 100) for _ in range(2)]
    said = [process.communicate()[0] for process in two]
    folder = said[0].splitlines()[-1]
    assert [text.splitlines()[-1] for text in said] == [folder, folder]
    assert "".join(said).count("note: waiting, since") <= 1
    assert [str(path) for path in tmp_path.iterdir()] == [folder]
    assert len(votes.load(Path(folder))) == 100


def test_it_is_an_ordinary_votes_folder_of_avas_shape(small):
    data = votes.load(small)
    assert len(data) == 200 and data.ratings == 10 and len(data.style_names) == 14
    counts = data.votes.sum(axis=1)
    assert counts.min() >= 100 and counts.max() <= 400
    aspects = data.sizes[:, 0] / data.sizes[:, 1]
    assert (aspects > 1.2).any() and (aspects < 0.8).any() and (abs(np.log(aspects)) < 0.15).any()
    labelled = ~np.isnan(data.styles).any(axis=1)
    assert 0.35 < labelled.mean() < 0.65
    np.testing.assert_array_equal(data.styles[labelled].sum(axis=1), 1)


def test_areas_stay_near_their_buckets():
    rng = np.random.default_rng(0)
    for _ in range(500):
        scene = demo_scene.draw_scene(rng)
        ratios = [scene.height * scene.width / (h * w) for h, w in demo_scene.BUCKETS]
        assert any(0.7 <= r <= 1.5 for r in ratios)


def test_votes_follow_the_latent_quality(small):
    data = votes.load(small)
    mean, std = mean_and_std(histograms(data.votes))
    assert spearmanr(np.array(data.metadata["quality"], float), mean).statistic > 0.9
    assert 5 < mean.mean() < 5.8
    assert 1.2 < np.median(std**2) < 2.4  # AVA: 1.9 or so


def test_divided_pictures_exist():
    rng = np.random.default_rng(0)
    spread = np.array([mean_and_std(histograms(demo.rate(0.0, rng)[None]))[1][0] for _ in range(300)])
    assert np.percentile(spread, 95) > 1.2 * np.median(spread)


def test_without_integrity_framing_and_aspect_count_nothing():
    scene = demo_scene.draw_scene(np.random.default_rng(0))
    other = dataclasses.replace(scene, place=-scene.place, fit=-scene.fit, calm=-scene.calm)
    assert scene.quality(0.0) == other.quality(0.0)
    assert scene.quality(1.0) != other.quality(1.0)
    blurred = dataclasses.replace(scene, sharp=-1.0)
    assert blurred.quality(0.0) < dataclasses.replace(scene, sharp=1.0).quality(0.0)


def scene_of(style: str, seed: int = 1, **factors) -> tuple[demo_scene.Scene, np.ndarray]:
    scene = demo_scene.draw_scene(np.random.default_rng(seed))
    scene = dataclasses.replace(scene, style=style, height=96, width=144, **factors)
    return scene, demo_scene.render(scene, np.random.default_rng(seed))


@pytest.mark.parametrize("style", demo_scene.NAMES)
def test_each_style_is_seen(style):
    """Against the same scene without a style; the rule of thirds shows as faint lines."""
    _, plain = scene_of("none", place=0.5)
    _, styled = scene_of(style, place=0.5)
    assert styled.shape == (96, 144, 3) and styled.dtype == np.uint8
    assert (np.abs(styled.astype(int) - plain).max(axis=2) > 8).mean() > 0.005


def test_sharpness_and_colour_are_what_they_are_called():
    def detail(pixels):
        grey = pixels.mean(axis=2)
        return np.abs(np.diff(grey, axis=0)).mean()

    def saturation(pixels):
        return np.asarray(Image.fromarray(pixels).convert("HSV"))[..., 1].mean()

    for seed in range(5):
        assert detail(scene_of("none", seed, sharp=1.0)[1]) > 1.5 * detail(
            scene_of("none", seed, sharp=-1.0)[1]
        )
        vivid, dull = (saturation(scene_of("none", seed, vivid=v)[1]) for v in (1.0, -1.0))
        assert vivid > 1.3 * dull
