"""What holds for every learner: the interface, storage, determinism, bad input."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest

from mtp.ldl import learners, params
from mtp.ldl.learners import LEARNERS
from mtp.ldl.params import LdlError

SMALL = {
    "aa_knn": {"k": 5},
    "svdr_like": {"features": 64, "tolerance": 1e-6},
    "iis_lld": {"iterations": 5000},
}
each = pytest.mark.parametrize("name", LEARNERS)


def fit(name, x, d, key, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", params.ConvergenceWarning)
        return LEARNERS[name].fit(x, d, key=key, **{**SMALL.get(name, {}), **options})


def on_the_simplex(rows):
    return (rows >= 0).all() and np.abs(rows.sum(axis=1) - 1).max() < 1e-6


@each
def test_better_than_the_mean_on_new_rows(name, data, key):
    fitted = fit(name, data.x[:90], data.d[:90], key)
    rows = LEARNERS[name].predict(fitted, data.x[90:])
    mean = data.d[:90].mean(axis=0)
    assert on_the_simplex(rows) and rows.shape == (30, 5)
    assert np.square(rows - data.truth[90:]).sum() < 0.7 * np.square(mean - data.truth[90:]).sum()


@each
def test_deterministic_and_stored(name, data, key, tmp_path):
    one, two = (fit(name, data.x, data.d, key, votes=data.votes) for _ in range(2))
    path = tmp_path / "params.npz"
    params.save(path, one)
    read = params.load(path)
    for other in (two, read):
        assert {k: a.tobytes() for k, a in one.arrays.items()} == {
            k: a.tobytes() for k, a in other.arrays.items()
        }
        assert (one.options, one.convergence) == (other.options, other.convergence)
    np.testing.assert_array_equal(learners.predict(read, data.x), LEARNERS[name].predict(one, data.x))
    assert list(tmp_path.iterdir()) == [path]


@each
def test_weights_count_by_their_ratios(name, data, key):
    """Scaled to mean 1: whatever the unit, C and a penalty keep their meaning."""
    weight = np.random.default_rng(3).integers(1, 4, len(data.x)).astype(float)
    one, scaled = (fit(name, data.x, data.d, key, weight=w) for w in (weight, 1024 * weight))
    plain = fit(name, data.x, data.d, key)
    rows = [LEARNERS[name].predict(fitted, data.x) for fitted in (one, scaled, plain)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.abs(rows[0] - rows[2]).max() > 1e-4


@each
def test_no_rows_to_predict(name, data, key):
    rows = LEARNERS[name].predict(fit(name, data.x, data.d, key), np.empty((0, 6)))
    assert rows.shape == (0, 5)


@each
def test_features_and_labels_that_cannot_be(name, data, key):
    x, d, votes = data.x.copy(), data.d.copy(), data.votes.copy()
    x[7, 2] = np.nan
    with pytest.raises(LdlError, match=r"features must be finite.*1 of 120 rows break it, first row 7"):
        fit(name, x, d, key)
    d[3] *= 1.01
    with pytest.raises(LdlError, match=r"sum to one.*first row 3"):
        fit(name, data.x, d, key)
    votes[4, 0] = -1
    with pytest.raises(LdlError, match=r"votes must be counts.*first row 4"):
        fit(name, data.x, data.d, key, votes=votes)
    votes[4] = 0
    with pytest.raises(LdlError, match=r"at least one vote.*first row 4"):
        fit(name, data.x, data.d, key, votes=votes)
    with pytest.raises(LdlError, match="votes must have the shape of d"):
        fit(name, data.x, data.d, key, votes=data.votes[:, :4])
    with pytest.raises(LdlError, match=r"d must be \(n, K\)"):
        fit(name, data.x, data.d[:50], key)
    with pytest.raises(LdlError, match="at least one row"):
        fit(name, data.x[:0], data.d[:0], key)


@each
def test_weights_that_cannot_be(name, data, key):
    for weight, message in (
        (np.zeros(120), "at least one weight"),
        (np.full(120, -1.0), "not negative"),
        (np.ones(3), "weight must be"),
    ):
        with pytest.raises(LdlError, match=message):
            fit(name, data.x, data.d, key, weight=weight)


@each
def test_queries_that_cannot_be(name, data, key):
    fitted = fit(name, data.x, data.d, key)
    with pytest.raises(LdlError, match="d = 6 as in the fit"):
        LEARNERS[name].predict(fitted, data.x[:, :5])
    with pytest.raises(LdlError, match="finite"):
        LEARNERS[name].predict(fitted, np.full((1, 6), np.inf))
    other = next(n for n in LEARNERS if n != name)
    with pytest.raises(LdlError, match="use that learner's predict"):
        LEARNERS[other].predict(fitted, data.x)


@each
def test_a_constant_feature_says_nothing(name, data, key):
    """Beside the bias; the sizes of steps and of random features may differ, the optimum does not."""
    if name == "svdr_like":
        options = {"kernel": "linear"}
    else:
        options = {"tolerance": 1e-10, "iterations": 20000} if name == "iis_lld" else {}
    padded = np.column_stack([data.x, np.full(120, 1.0)])
    plain = LEARNERS[name].predict(fit(name, data.x, data.d, key, **options), data.x)
    constant = LEARNERS[name].predict(fit(name, padded, data.d, key, **options), padded)
    np.testing.assert_allclose(constant, plain, atol=2e-3)


@each
def test_a_rating_that_nobody_used(name, data, key):
    d = np.column_stack([data.d, np.zeros(120)])
    rows = LEARNERS[name].predict(fit(name, data.x, d, key), data.x)
    # LDSVR fills empty bins with 1 / (10 K)
    assert on_the_simplex(rows) and rows[:, 5].max() < 0.03


@each
def test_duplicated_rows(name, data, key):
    x, d = np.tile(data.x[:20], (6, 1)), np.tile(data.d[:20], (6, 1))
    assert on_the_simplex(LEARNERS[name].predict(fit(name, x, d, key), data.x))


@each
def test_fewer_rows_than_features(name, key):
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(8, 30)), rng.dirichlet(np.ones(4), 8)
    options = {"penalty": 1e-3} if name == "bfgs_lld" else {}
    assert on_the_simplex(LEARNERS[name].predict(fit(name, x, d, key, **options), rng.normal(size=(5, 30))))


@each
def test_whole_numbers_and_single_precision_are_features_too(name, data, key):
    rows = LEARNERS[name].predict(
        fit(name, data.x.round().astype(int), data.d.astype(np.float32), key), data.x.astype(np.float32)
    )
    assert on_the_simplex(rows)


def test_another_learner_or_file(data, key, tmp_path):
    unknown = dataclasses.replace(fit("aa_knn", data.x, data.d, key), learner="magic")
    with pytest.raises(LdlError, match="there is no learner 'magic'"):
        learners.predict(unknown, data.x)
    for content in (b"", b"no archive"):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(LdlError, match="cannot be read"):
            params.load(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", a=np.ones(2))
    with pytest.raises(LdlError, match="cannot be read"):
        params.load(tmp_path / "y.npz")


@pytest.mark.parametrize("name", ["ldsvr", "svdr_like"])
def test_other_keys_draw_other_features(name, data):
    one, two = (fit(name, data.x, data.d, jax.random.key(seed), features=64) for seed in (0, 1))
    assert not np.array_equal(one.arrays["omega"], two.arrays["omega"])
