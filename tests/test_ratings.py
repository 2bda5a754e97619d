"""The rating scale and the one rule for high and low."""

from fractions import Fraction

import numpy as np
import pytest

from mtp.config import ConfigError
from mtp.evaluation.samples import Criteria, Sample
from mtp.ratings import histograms, is_clear, is_high, mean_and_std, rating_scale
from mtp.tasks import TASKS


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


def tied_votes(ratings, threshold, seed, most):
    """Votes (N, K): about half of them have a mean that is the threshold exactly."""
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, most, (3000, ratings))
    votes[:, 0] += 1
    exact = Fraction(str(threshold))
    for row in votes[::2]:
        # moves the mean onto the threshold: multiples of all votes, then of the lowest or the highest rating
        row *= exact.denominator * (ratings - 1)
        excess = int(sum((k + 1 - exact) * int(n) for k, n in enumerate(row)) * exact.denominator)
        low, high = int((exact - 1) * exact.denominator), int((ratings - exact) * exact.denominator)
        row *= low * high
        excess *= low * high
        row[0 if excess > 0 else -1] += abs(excess) // (low if excess > 0 else high)
    return votes


@pytest.mark.parametrize(
    ("ratings", "threshold", "delta"),
    [(10, 5.0, 1.0), (10, 5.3, 0.7), (5, 3.0, 4 / 9), (7, 4.25, 0.05), (10, 5.001, 0.1)],
)
@pytest.mark.parametrize("most", [3, 40, 2000])
def test_both_categories_are_those_of_exact_arithmetic(ratings, threshold, delta, most):
    """In labels, in metrics and in the rule itself, for ties too, which rounding would tell apart."""
    votes = tied_votes(ratings, threshold, most, most)
    limit = Fraction(str(threshold))
    means = [sum(k * Fraction(int(n)) for k, n in enumerate(row, 1)) / int(row.sum()) for row in votes]
    high = np.array([mean > limit for mean in means])
    assert 1000 < sum(mean == limit for mean in means) < 2900
    np.testing.assert_array_equal(is_high(mean_and_std(histograms(votes))[0], threshold), high)
    labels = TASKS["two_category"].label(votes, np.zeros((len(votes), 0)), threshold)
    np.testing.assert_array_equal(labels.values, high)
    sample = Sample(Criteria(threshold, delta, 1e-7), truth=histograms(votes))
    np.testing.assert_array_equal(sample.truth_high, high)
    clear = [abs(mean - limit) > Fraction(delta).limit_denominator(1000) for mean in means]
    np.testing.assert_array_equal(sample.clear, clear)


def test_a_picture_at_the_end_of_the_ambiguous_middle_is_unclear():
    means = np.array([4 - 1e-9, 4.0, 4 + 1e-9, 4 + 1e-15, 6 - 1e-15, 6.0, 6 + 1e-9])
    np.testing.assert_array_equal(is_clear(means, 5.0, 1.0), [True, *[False] * 5, True])
    np.testing.assert_array_equal(is_clear(means, 5.0, 0.0), True)
    np.testing.assert_array_equal(is_clear(np.array([5.0, 5 + 1e-15]), 5.0, 0.0), False)
