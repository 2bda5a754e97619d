"""Size rules and how pictures get their sizes."""

import numpy as np
import pytest

from mtp.config import ConfigError
from mtp.data.batches.sizes import FITS, ISOTROPIC, SQUARE, SizeRule, crop, pad, warp
from mtp.data.schema import DataError

TRAINING = ((224, 336), (336, 224), (224, 224))
AREA = (2 * 224 * 336 + 224 * 224) / 3
SIZES = [(1, 1), (31, 62), (160, 800), (224, 224), (333, 500), (3000, 40)]
RULES = ["native", "trained", "area=90000", "long=640", "warp=224", "crop=224", "pad=224"]


def parsed(text, min_side=32):
    return SizeRule.parse(text, TRAINING, min_side)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def is_isotropic(size, new):
    """One factor for both sides but for rounding to whole pixels."""
    (h, w), (height, width) = size, new
    return abs(height / h - width / w) <= 0.5 / h + 0.5 / w


def test_all_rules_are_tried():
    assert {rule.split("=")[0] for rule in RULES} == {*ISOTROPIC, *SQUARE}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("min_side", [1, 32, 41])
@pytest.mark.parametrize("text", RULES)
def test_no_side_is_under_the_networks_smallest(text, size, min_side):
    assert min(parsed(text, min_side).of(size)) >= min_side


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", RULES[:4])
def test_isotropic_rules_keep_the_aspect_ratio(text, size):
    assert is_isotropic(size, parsed(text).of(size))


@pytest.mark.parametrize("size", [(32, 500), (224, 224), (161, 190)])
def test_native_changes_nothing_that_is_large_enough(size):
    assert parsed("native").of(size) == size


@pytest.mark.parametrize(
    ("size", "enlarged"), [((31, 62), (32, 64)), ((16, 8), (64, 32)), ((1, 1), (32, 32))]
)
def test_native_enlarges_what_is_too_small(size, enlarged):
    assert parsed("native").of(size) == enlarged
    assert parsed("native", min_side=1).of(size) == size


@pytest.mark.parametrize("size", [(224, 224), (333, 500), (3000, 6000)])
@pytest.mark.parametrize(("text", "area"), [("trained", AREA), ("area=90000", 90_000)])
def test_area_rules_reach_their_area(text, area, size):
    height, width = parsed(text).of(size)
    assert height * width == pytest.approx(area, rel=0.01)


def test_long_is_the_longer_side():
    assert parsed("long=200").of((300, 600)) == (100, 200)
    assert parsed("long=200").of((600, 300)) == (200, 100)
    assert parsed("long=640").of((160, 800)) == (128, 640)
    assert parsed("long=640").of((100, 5000)) == (32, 1600)  # the shorter side limits it


@pytest.mark.parametrize(
    ("size", "side"), [((224, 224), 224), ((333, 500), 408), ((160, 40), 80), ((9, 9), 32)]
)
def test_a_square_of_the_pictures_own_area(size, side):
    rule = parsed("warp=native")
    assert rule.of(size) == (side, side)
    assert rule.fit is warp
    assert parsed("warp=native").within((100, 400), 50_000, "error") == (200, 200)
    with pytest.raises(DataError, match=r"more than eval\.max_pixels"):
        rule.within((1000, 4000), 1_000_000, "shrink")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", RULES[4:])
def test_squares_are_squares(text, size):
    rule = parsed(text)
    assert rule.of(size) == (224, 224)
    assert rule.fit(picture(*size), *rule.of(size), (0.5, 0.5)).shape == (224, 224, 3)


def test_each_rule_fits_as_its_name_says():
    assert [parsed(text).fit for text in RULES] == [warp] * 5 + [crop, pad]


@pytest.mark.parametrize(
    "text",
    ["", "Native", "long", "long=", "long=-3", "long=31", "long=2.5", "area=x", "warp", "square=224", "native=3"],
)  # fmt: skip
def test_bad_rule(text):
    with pytest.raises(ConfigError, match=r"native, trained, long=L.*at least 32.*not '"):
        parsed(text)


def test_within_is_of_below_the_limit():
    for text in RULES:
        assert parsed(text).within((480, 641), 4_000_000, "error") == parsed(text).of((480, 641))


def test_what_is_larger_than_the_limit_is_an_error_or_shrinks_isotropically():
    with pytest.raises(DataError, match=r"6000x3000.*eval.max_pixels"):
        parsed("native").within((3000, 6000), 4_000_000, "error")
    height, width = parsed("native").within((3000, 6000), 4_000_000, "shrink")
    assert 3_990_000 < height * width <= 4_000_000
    assert width / height == pytest.approx(2, rel=0.001)
    with pytest.raises(DataError, match="no side may be under 32"):
        parsed("native").within((40, 200_000), 4_000_000, "shrink")


@pytest.mark.parametrize("text", RULES[4:])
def test_a_square_never_shrinks(text):
    with pytest.raises(DataError, match=r"224x224, more than eval\.max_pixels = 9000"):
        parsed(text).within((480, 641), 9_000, "shrink")


@pytest.mark.parametrize("where", [(0.5, 0.5), (0.0, 1.0)])
@pytest.mark.parametrize("size", [(224, 224), (160, 800), (1, 1)])
@pytest.mark.parametrize("name", FITS)
def test_a_picture_of_the_wanted_size_is_unchanged(name, size, where):
    given = picture(*size)
    np.testing.assert_array_equal(FITS[name](given, *size, where), given)


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("wanted", [(1, 1), (33, 65), (224, 224)])
@pytest.mark.parametrize("size", [(1, 1), (160, 800), (300, 50), (224, 224)])
def test_every_fit_gives_the_wanted_size(name, size, wanted):
    for where in ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0), (0.999, 0.3)):
        found = FITS[name](picture(*size), *wanted, where)
        assert found.shape == (*wanted, 3) and found.dtype == np.uint8


@pytest.mark.parametrize("name", FITS)
def test_one_pixel_fills_what_it_becomes(name):
    found = FITS[name](np.full((1, 1, 3), 77, np.uint8), 224, 224, (0.5, 0.5))
    assert (found == 77).all()


@pytest.mark.parametrize("where", [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.31, 0.87)])
def test_a_crop_is_a_window_of_the_picture_itself(where):
    given = picture(160, 800)
    top, left = round(where[0] * (160 - 100)), round(where[1] * (800 - 224))
    np.testing.assert_array_equal(crop(given, 100, 224, where), given[top : top + 100, left : left + 224])


def test_a_crop_lies_in_the_middle_unless_told():
    given = picture(160, 800)
    np.testing.assert_array_equal(crop(given, 100, 100), given[30:130, 350:450])
    np.testing.assert_array_equal(crop(given[:, ::-1], 100, 100)[:, ::-1], crop(given, 100, 100))


def test_a_crop_of_a_picture_that_is_too_small_enlarges_it_no_more_than_needed():
    """A horizontal ramp of 160x800 becomes 224x1120: the middle of it is cut out, and nothing is squeezed."""
    ramp = np.broadcast_to(np.linspace(0, 255, 800).astype(np.uint8)[None, :, None], (160, 800, 3))
    found = crop(np.ascontiguousarray(ramp), 224, 224)[0, :, 0].astype(float)
    expected = np.linspace(0, 255, 1120)[448 : 448 + 224]
    np.testing.assert_allclose(found, expected, atol=1.5)


@pytest.mark.parametrize("size", [(160, 800), (800, 160), (500, 333), (5, 3), (2000, 1)])
def test_pad_is_isotropic_centred_and_black_outside(size):
    page = pad(np.full((*size, 3), 200, np.uint8), 224, 224)
    rows, columns = (np.flatnonzero(page[..., 0].any(axis=axis)) for axis in (1, 0))
    inside = (len(rows), len(columns))
    assert max(inside) == 224
    scale = 224 / max(size)
    assert inside == tuple(max(1, round(side * scale)) for side in size)
    for lines in (rows, columns):
        assert lines.tolist() == list(range(lines[0], lines[-1] + 1))
        assert abs(lines[0] - (223 - lines[-1])) <= 1
    shown = page[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (shown == 200).all()
    assert int(page.astype(int).sum()) == int(shown.astype(int).sum())


def test_pad_shows_the_whole_picture():
    given = picture(112, 224)
    np.testing.assert_array_equal(pad(given, 224, 224)[56:168], given)


def test_warp_shows_the_whole_picture_in_another_shape():
    """Each quadrant stays where it is."""
    given = np.zeros((160, 800, 3), np.uint8)
    given[:80, :400], given[80:, 400:] = 50, 200
    found = warp(given, 224, 224)
    np.testing.assert_array_equal(found[:100, :100], 50)
    np.testing.assert_array_equal(found[124:, 124:], 200)
    assert not found[:100, 124:].any() and not found[124:, :100].any()
