"""Task weights (Eq. 1) and reliability weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mtp.training import weighting

LOSSES = {"distribution": jnp.float32(0.1), "two_category": jnp.float32(0.6), "style": jnp.float32(2.0)}
SIGMAS = {"distribution": jnp.float32(0.5), "two_category": jnp.float32(0.9), "style": jnp.float32(0.6)}
FACTORS = {"distribution": 1.0, "two_category": 0.15, "style": 0.06}
SHARES = dict.fromkeys(LOSSES, jnp.float32(1.0))


def test_eq_1_in_numbers():
    by_hand = 0.05 * np.exp(-1) + 0.15 * 0.3 * np.exp(-1.8) + 0.06 * np.exp(-1.2) + 0.5 + 0.9 + 0.6
    total = weighting.total(LOSSES, SIGMAS, FACTORS, SHARES, "kendall")
    assert float(total) == pytest.approx(by_hand, rel=1e-6)


def test_losses_simply_added():
    assert float(weighting.total(LOSSES, SIGMAS, FACTORS, SHARES, "sum")) == pytest.approx(2.7)


def test_without_labels_a_sigma_gets_no_gradient():
    absent = {**SHARES, "style": jnp.float32(0)}
    losses = {**LOSSES, "style": jnp.float32(0)}
    gradient = jax.grad(lambda s: weighting.total(losses, s, FACTORS, absent, "kendall"))(SIGMAS)
    assert float(gradient["style"]) == 0
    assert float(gradient["distribution"]) != 0


def test_the_best_sigma_is_the_root_of_the_scaled_loss():
    """d/ds [f L exp(-2s)/2 + s] = 0 at s = ln(f L) / 2."""
    best = {"distribution": jnp.log(jnp.float32(0.1)) / 2}
    gradient = jax.grad(
        lambda s: weighting.total({"distribution": LOSSES["distribution"]}, s, FACTORS, SHARES, "kendall")
    )(best)
    assert float(gradient["distribution"]) == pytest.approx(0, abs=1e-6)


def test_projection_holds_the_papers_range():
    wild = {"distribution": jnp.float32(-7), "style": jnp.float32(9)}
    held = weighting.project(wild, -1.0, 2.5)
    assert (float(held["distribution"]), float(held["style"])) == (-1, 2.5)


def votes(n=200):
    rng = np.random.default_rng(0)
    return np.array([rng.multinomial(100, p) for p in rng.dirichlet(np.ones(10) * 2, n)])


@pytest.mark.parametrize("kind", ["variance", "votes", "permuted", "none"])
def test_every_reliability_has_mean_one(kind):
    found = weighting.reliability(votes(), kind, 5.0, 0.5)
    assert set(found) == {"distribution", "two_category"}
    for weights in found.values():
        assert weights.mean() == pytest.approx(1)
        assert (weights >= 0).all()


def test_agreement_counts_more_and_ties_count_nothing():
    agreed, divided = [0, 0, 0, 0, 0, 0, 100, 0, 0, 0], [50, 0, 0, 0, 0, 0, 0, 0, 50, 0]
    usual = np.random.default_rng(0).multinomial(100, stats.binom(9, 0.5).pmf(np.arange(10)), 50)
    rows = np.array([agreed, divided, *usual])
    distribution, two_category = weighting.reliability(rows, "variance", 5.0, 0.5).values()
    assert distribution[0] / distribution[1] == pytest.approx(16)  # clipped at 4 and 1/4
    assert two_category[1] == pytest.approx(0)  # its mean is the threshold itself


def test_permuted_weights_are_the_same_weights():
    plain, shuffled = (
        weighting.reliability(votes(), kind, 5.0, 0.5)["distribution"] for kind in ("variance", "permuted")
    )
    assert not np.allclose(plain, shuffled)
    np.testing.assert_allclose(np.sort(plain), np.sort(shuffled))
