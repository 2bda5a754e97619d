import itertools

import numpy as np
import pytest
from PIL import Image

from mtp.data.batches import buckets
from mtp.data.batches.covering import cheapest_columns
from mtp.data.schema import DataError
from mtp.models.backbones import odd_sides

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
def test_canvases_equal_brute_force_over_all_shapes(seed):
    sizes = random_sizes(seed, 7, 32, 60)
    heights, widths = np.unique(sizes[:, 0]), np.unique(sizes[:, 1])
    shapes = list(itertools.product(heights.tolist(), widths.tolist()))  # a best canvas touches pictures
    area = np.array([h * w for h, w in shapes])
    cost = np.where((sizes[:, None] <= np.array(shapes)).all(-1), area, 10**9)
    best = min(cost[:, c].min(axis=1).sum() for c in itertools.combinations(range(len(shapes)), 2))
    chosen = buckets.choose_canvases(sizes, 2)
    assert len(chosen) <= 2
    assert buckets.padding(sizes, chosen) == pytest.approx(1 - sizes.prod(axis=1).sum() / best)


@pytest.mark.parametrize("n", [1, 5, 40, 1000])
def test_canvases_are_few_and_cover_every_picture(n):
    sizes = random_sizes(n, n)
    chosen = buckets.choose_canvases(sizes, 6)
    assert len(chosen) <= 6
    held = np.array(chosen)[buckets.assign(sizes, chosen)]
    assert (held >= sizes).all()
    for shape in chosen:
        # none is larger than what it holds
        np.testing.assert_array_equal(sizes[(held == shape).all(axis=1)].max(axis=0), shape)


@pytest.mark.parametrize("n", [5, 1000])
def test_canvases_of_odd_sides_are_odd(n):
    """For NASNet, whose pictures all end at an odd side."""
    assert all(h % 2 and w % 2 for h, w in buckets.choose_canvases(odd_sides(random_sizes(n, n)), 6))


def test_merging_many_sizes_costs_little():
    sizes = random_sizes(0, 1000)
    grid = np.minimum(-(-sizes // 28) * 28, 199)  # a coarse histogram solved exactly is an upper bound
    coarse = buckets.padding(sizes, buckets.choose_canvases(grid, 6))
    assert buckets.padding(sizes, buckets.choose_canvases(sizes, 6)) < coarse


def test_as_many_canvases_as_sizes_pad_nothing():
    sizes = random_sizes(1, 5)
    assert buckets.padding(sizes, buckets.choose_canvases(sizes, 5)) == 0


def test_even_and_odd_sides_share_a_canvas():
    sizes = np.array([[224, 336], [223, 335]])
    assert buckets.choose_canvases(odd_sides(sizes), 6) == [(223, 335)]
    assert sorted(buckets.choose_canvases(sizes, 6)) == [(223, 335), (224, 336)]


def test_no_pictures_no_canvas():
    with pytest.raises(DataError, match="at least one picture"):
        buckets.choose_canvases(np.zeros((0, 2), int), 6)


def test_assign_takes_the_smallest_that_covers():
    canvases = [(99, 99), (51, 51), (31, 99)]
    sizes = np.array([[30, 90], [51, 51], [33, 53], [99, 99]])
    assert buckets.assign(sizes, canvases).tolist() == [2, 1, 0, 0]
    with pytest.raises(ValueError, match="must fit a canvas"):
        buckets.assign(np.array([[100, 6]]), canvases)


def test_padding_closed_form():
    sizes = np.array([[3, 5], [5, 1]])
    assert buckets.padding(sizes, [(5, 5)]) == pytest.approx(1 - 20 / 50)


def test_vessel_padding(shared_data):
    found = []
    for path in sorted((shared_data / "vessel/images").iterdir()):
        with Image.open(path) as picture:
            found.append((picture.height, picture.width))
    sizes = odd_sides(np.array(found))
    canvases = buckets.choose_canvases(sizes, 6)
    assert buckets.padding(sizes, canvases) == pytest.approx(0.128, abs=5e-4)


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
