"""The rating scale and the one rule for high and low."""

import numpy as np
import pytest

from mtp.config import ConfigError
from mtp.ratings import is_high, rating_scale


@pytest.mark.parametrize(
    ("ratings", "expected"), [(10, (5, 1, 0.5)), (7, (4, 2 / 3, 1 / 3)), (5, (3, 4 / 9, 2 / 9))]
)
def test_scale_of_other_ratings(ratings, expected):
    np.testing.assert_allclose(rating_scale(ratings), expected)
    np.testing.assert_allclose(rating_scale(ratings, 2.0, 0.25, 0.1), (2, 0.25, 0.1))
    np.testing.assert_allclose(rating_scale(ratings, delta=0.0), (expected[0], 0, expected[2]))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 5.0, 7.0])
def test_a_threshold_lies_within_the_scale(threshold):
    with pytest.raises(
        ConfigError, match=rf"loss\.threshold must lie within the ratings 1\.\.5, not be {threshold:g}"
    ):
        rating_scale(5, threshold)


def test_a_mean_above_the_threshold_is_high_and_a_tie_is_low():
    np.testing.assert_array_equal(is_high(np.array([4.9, 5.0, 5.1]), 5.0), [False, False, True])
