"""Last layers on features: the optimum by scikit-learn, the choice of the strength, and what changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mtp.data.errors import DataError
from mtp.tasks import losses
from mtp.training import last_layers
from mtp.training.last_layers import Problem, Span, fit, folds_of

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(2, 3, (60, 20)).astype(np.float32)
CLASSES = (FEATURES[:, 0] + 3 * RNG.normal(size=60) > 2).astype(np.float32)
HISTOGRAMS = RNG.dirichlet(np.ones(5), 60).astype(np.float32)
ONES, GROUPS = np.ones(60), [str(i // 2) for i in range(60)]


def fitted(
    features=FEATURES, labels=HISTOGRAMS, weights=ONES, loss=losses.emd, outputs=5, groups=GROUPS, seed=0
):
    return fit(features, labels, weights, outputs, loss, loss, groups, seed)


@pytest.mark.parametrize("strength", [0.1, 0.003])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_is_that_of_logistic_regression(strength, weighted):
    """Softmax with two outputs and |W|^2 over both is the binary problem at half the strength."""
    weights = np.where(np.arange(60) % 3, 1.0, 2.5) if weighted else ONES
    space = Span(FEATURES)
    problem = Problem(space.coordinates, CLASSES, weights, 2, losses.two_category)
    kernel, bias = space.of_features(*problem.split(problem.solve(problem.start(), strength, problem.part())))
    standard = (FEATURES - FEATURES.mean(0)) / FEATURES.std(0) / 20**0.5
    oracle = LogisticRegression(C=2 / strength / weights.sum(), tol=1e-8, max_iter=5000)
    oracle.fit(standard, CLASSES, weights)
    ours = FEATURES @ (kernel[:, 1] - kernel[:, 0]) + bias[1] - bias[0]
    np.testing.assert_allclose(ours, oracle.decision_function(standard), rtol=0.01, atol=0.01)


def test_a_weight_of_two_is_two_copies_and_of_zero_is_none():
    weights = np.where(np.arange(60) < 10, 2.0, np.where(np.arange(60) >= 50, 0.0, 1.0))
    index = np.repeat(np.arange(60), weights.astype(int))
    space = Span(FEATURES[weights > 0])
    once = Problem(space.coordinates, HISTOGRAMS[:50], weights[:50], 5, losses.emd)
    copies = Problem(space.coordinates[index], HISTOGRAMS[index], np.ones(len(index)), 5, losses.emd)
    ours, theirs = (problem.solve(problem.start(), 0.01, problem.part()) for problem in (once, copies))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert (
        fitted(weights=weights).strength
        == fitted(FEATURES[:50], HISTOGRAMS[:50], weights[:50], groups=GROUPS[:50]).strength
    )


def test_scale_and_offset_of_features_change_no_logit():
    """And a feature that is the same everywhere is not read."""
    factor, offset = RNG.uniform(0.01, 100, 20), RNG.normal(0, 100, 20)
    moved = np.column_stack([FEATURES * factor + offset, np.full(60, 7.0)]).astype(np.float32)
    plain, other = fitted(np.column_stack([FEATURES, np.zeros(60)])), fitted(moved)
    assert plain.strength == other.strength and not other.kernel[-1].any()
    logits = FEATURES @ plain.kernel[:-1] + plain.bias
    np.testing.assert_allclose(moved @ other.kernel + other.bias, logits, atol=0.02)


def test_another_loss_than_the_minimised_one_may_choose_the_strength():
    """Judged by what the strongest one suits best, it is the strongest; the layer is the fit at that strength."""
    learnable = np.asarray(jax.nn.softmax(FEATURES[:, :5] / 2))
    mean = jnp.asarray(learnable.mean(0))

    def distance_to_the_mean(truth, logits):
        return losses.emd(jnp.tile(mean, (len(logits), 1)), logits)

    own = fit(FEATURES, learnable, ONES, 5, losses.cross_entropy, losses.cross_entropy, GROUPS)
    other = fit(FEATURES, learnable, ONES, 5, losses.cross_entropy, distance_to_the_mean, GROUPS)
    assert other.strength == last_layers.STRENGTHS[0] > own.strength
    assert np.abs(other.kernel).max() < 0.1 * np.abs(own.kernel).max()


def test_what_can_be_learnt_gets_a_weak_strength_and_noise_a_strong_one():
    learnable = jax.nn.softmax(FEATURES[:, :5] / 2)
    assert fitted(labels=np.asarray(learnable)).strength < 0.005 < fitted().strength
    assert fitted(labels=np.asarray(learnable)).held_out[1.0] > min(
        fitted(labels=np.asarray(learnable)).held_out.values()
    )


def test_pictures_of_a_group_are_held_out_together():
    folds = folds_of(GROUPS, 0)
    assert len(folds) == 5 and (np.sum(folds, axis=0) == 1).all()
    for held in folds:
        assert (
            len(
                {g for g, h in zip(GROUPS, held, strict=True) if h}
                & {g for g, h in zip(GROUPS, held, strict=True) if not h}
            )
            == 0
        )


def test_fewer_groups_than_folds_are_enough_and_fewer_than_three_are_an_error():
    assert len(folds_of(["a", "b", "c", "c"], 0)) == 3
    with pytest.raises(DataError, match="at least 3 groups; there are 2"):
        fitted(groups=["a"] * 30 + ["b"] * 30)


def test_more_features_than_pictures_cost_only_the_pictures(monkeypatch):
    wide = RNG.normal(size=(60, 3000)).astype(np.float32)
    assert Span(wide).coordinates.shape == (60, 59)
    layer = fitted(wide)
    assert layer.kernel.shape == (3000, 5) and np.isfinite(layer.kernel).all()


def test_weaker_strengths_are_tried_until_they_are_worse():
    tried = fitted().held_out
    values = list(tried.values())
    assert len(tried) < len(last_layers.STRENGTHS)
    assert (
        values.index(min(values)) == len(values) - 1 - last_layers.PATIENCE
        or values.index(min(values)) < len(values) - 1
    )


def test_two_fits_are_the_same_to_the_last_bit():
    one, two = fitted(), fitted()
    np.testing.assert_array_equal(one.kernel, two.kernel)
    assert jnp.asarray(one.bias).tolist() == jnp.asarray(two.bias).tolist()
