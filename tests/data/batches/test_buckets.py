import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtp.data.batches import buckets
from mtp.data.batches.covering import cheapest_columns
from mtp.data.schema import DataError

TRAINING = ((224, 336), (336, 224), (224, 224))


def random_sizes(seed, n, low=32, high=200):
    return np.random.default_rng(seed).integers(low, high, (n, 2))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 2, 3])
def test_cheapest_columns_equals_brute_force(seed, k):
    rng = np.random.default_rng(seed)
    cost = np.where(rng.random((9, 12)) < 0.6, rng.random((9, 12)) + 0.1, np.inf)
    cost[:, 5] = 3.0
    best = min(cost[:, c].min(axis=1).sum() for c in itertools.combinations(range(12), k))
    chosen = cheapest_columns(cost, k)
    assert len(chosen) <= k
    assert cost[:, chosen].min(axis=1).sum() == pytest.approx(best, rel=1e-9)


def test_cheapest_columns_needs_a_solution():
    with pytest.raises(ValueError, match="finite in every row"):
        cheapest_columns(np.array([[1.0, np.inf], [np.inf, 1.0]]), 2)


@pytest.mark.parametrize("seed", range(4))
def test_canvases_equal_brute_force_over_all_odd_shapes(seed):
    sizes = random_sizes(seed, 7, 32, 60)
    odd = buckets.trimmed(sizes)
    heights, widths = np.unique(odd[:, 0]), np.unique(odd[:, 1])
    shapes = list(itertools.product(heights.tolist(), widths.tolist()))  # a best canvas touches pictures
    area = np.array([h * w for h, w in shapes])
    cost = np.where((odd[:, None] <= np.array(shapes)).all(-1), area, 10**9)
    best = min(cost[:, c].min(axis=1).sum() for c in itertools.combinations(range(len(shapes)), 2))
    chosen = buckets.choose_canvases(sizes, 2)
    assert len(chosen) <= 2
    assert buckets.padding(sizes, chosen) == pytest.approx(1 - odd.prod(axis=1).sum() / best)


@pytest.mark.parametrize("n", [1, 5, 40, 1000])
def test_canvases_are_few_odd_and_cover_every_picture(n):
    sizes = random_sizes(n, n)
    chosen = buckets.choose_canvases(sizes, 6)
    assert len(chosen) <= 6
    assert all(h % 2 and w % 2 for h, w in chosen)
    held = np.array(chosen)[buckets.assign(sizes, chosen)]
    assert (held >= buckets.trimmed(sizes)).all()
    assert (held - buckets.trimmed(sizes)).min() == 0


def test_merging_many_sizes_costs_little():
    sizes = random_sizes(0, 1000)
    grid = np.minimum(-(-sizes // 28) * 28, 199)  # a coarse histogram solved exactly is an upper bound
    coarse = buckets.padding(sizes, buckets.choose_canvases(grid, 6))
    assert buckets.padding(sizes, buckets.choose_canvases(sizes, 6)) < coarse


def test_as_many_canvases_as_sizes_pad_nothing():
    sizes = random_sizes(1, 5)
    assert buckets.padding(sizes, buckets.choose_canvases(sizes, 5)) == 0


def test_even_and_odd_sides_share_a_canvas():
    assert buckets.choose_canvases(np.array([[224, 336], [223, 335]]), 6) == [(223, 335)]


def test_no_pictures_no_canvas():
    with pytest.raises(DataError, match="at least one picture"):
        buckets.choose_canvases(np.zeros((0, 2), int), 6)


def test_assign_takes_the_smallest_that_covers():
    canvases = [(99, 99), (51, 51), (31, 99)]
    assert buckets.assign(np.array([[30, 90], [51, 52], [33, 53], [99, 99]]), canvases).tolist() == [
        2,
        1,
        0,
        0,
    ]
    with pytest.raises(ValueError, match="must fit a canvas"):
        buckets.assign(np.array([[101, 6]]), canvases)


def test_padding_closed_form():
    sizes = np.array([[3, 5], [6, 2]])  # trimmed to 3x5 and 5x1
    assert buckets.padding(sizes, [(5, 5)]) == pytest.approx(1 - 20 / 50)


def test_vessel_padding():
    root = Path(os.environ.get("MTP_SHARED_DATA", Path(__file__).parents[3].parent / "shared/data"))
    if not (root / "vessel/images").is_dir():
        pytest.skip(f"no Vessel pictures under {root}; set MTP_SHARED_DATA")
    sizes = []
    for path in sorted((root / "vessel/images").iterdir()):
        with Image.open(path) as picture:
            sizes.append((picture.height, picture.width))
    canvases = buckets.choose_canvases(np.array(sizes), 6)
    assert buckets.padding(np.array(sizes), canvases) == pytest.approx(0.128, abs=5e-4)


def test_nearest_bucket_and_ties():
    sizes = np.array([[100, 150], [150, 100], [100, 100], [100, 123], [100, 122], [50, 500]])
    assert buckets.nearest_bucket(sizes, TRAINING).tolist() == [0, 1, 2, 0, 2, 0]
    # aspect 2 lies midway between 1 and 4, aspect 1/2 between 1/4 and 1
    squarer = buckets.nearest_bucket(np.array([[100, 200], [200, 100]]), ((50, 200), (200, 50), (70, 70)))
    assert squarer.tolist() == [2, 2]


def test_distortion_closed_form():
    sizes = np.array([[224, 336], [224, 448], [448, 224]])
    median, high = buckets.distortion(sizes, TRAINING)
    assert median == pytest.approx(4 / 3)
    assert high == pytest.approx(4 / 3)
    assert buckets.distortion(np.array(TRAINING), TRAINING) == (1.0, 1.0)


def test_enlarged_touches_only_small_pictures():
    sizes = np.array([[31, 62], [16, 8], [32, 500]])
    assert buckets.enlarged(sizes).tolist() == [[32, 64], [64, 32], [32, 500]]


def evaluation_size(size, rule="native", max_pixels=4_000_000, too_large="error"):
    return buckets.evaluation_size(size, rule, TRAINING, max_pixels, too_large)


def test_evaluation_size_rules():
    assert evaluation_size((480, 641)) == (480, 641)
    assert evaluation_size((16, 40)) == (32, 80)
    assert evaluation_size((300, 600), "long=200") == (100, 200)
    assert evaluation_size((600, 300), "long=200") == (200, 100)
    assert evaluation_size((100, 5000), "long=640") == (32, 1600)
    height, width = evaluation_size((3000, 6000), "trained")
    area = (2 * 224 * 336 + 224 * 224) / 3
    assert height * width == pytest.approx(area, rel=0.01)
    assert width / height == pytest.approx(2, rel=0.01)


def test_evaluation_size_above_the_limit():
    with pytest.raises(DataError, match=r"6000x3000.*eval.max_pixels"):
        evaluation_size((3000, 6000))
    height, width = evaluation_size((3000, 6000), too_large="shrink")
    assert 3_990_000 < height * width <= 4_000_000
    assert width / height == pytest.approx(2, rel=0.001)
    with pytest.raises(DataError, match="no side may be under 32"):
        evaluation_size((40, 200_000), too_large="shrink")


@pytest.mark.parametrize("rule", ["", "Native", "long", "long=", "long=-3", "long=31", "long=2.5"])
def test_bad_rule(rule):
    with pytest.raises(ValueError, match=r"eval\.size"):
        evaluation_size((100, 100), rule)


def test_bad_too_large():
    with pytest.raises(ValueError, match=r"eval\.too_large"):
        evaluation_size((100, 100), too_large="ignore")


def test_place_puts_at_the_bottom_right():
    rng = np.random.default_rng(0)
    odd = rng.integers(1, 256, (3, 5, 3), np.uint8)
    even = rng.integers(1, 256, (4, 6, 3), np.uint8)
    images, sizes = buckets.place([odd, even], (7, 9), 3)
    assert images.shape == (3, 7, 9, 3)
    assert images.dtype == np.uint8
    assert sizes.dtype == np.int32
    assert sizes.tolist() == [[3, 5], [3, 5], [0, 0]]
    np.testing.assert_array_equal(images[0, 4:, 4:], odd)
    np.testing.assert_array_equal(images[1, 4:, 4:], even[:3, :5])
    images[:2, 4:, 4:] = 0
    assert not images.any()
