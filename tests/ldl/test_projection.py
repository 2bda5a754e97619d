"""Standardising and principal components."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from mtp.ldl import projection
from mtp.ldl.params import LdlError


def test_scikit_learns_whitened_components(data):
    ours = projection.learn(data.x, 4)
    standard = StandardScaler().fit(data.x)
    oracle = PCA(4).fit(standard.transform(data.x))
    theirs = oracle.transform(standard.transform(data.x)) / np.sqrt(oracle.explained_variance_ * 119 / 120)
    np.testing.assert_allclose(np.abs(ours(data.x)), np.abs(theirs), atol=1e-8)
    assert ours.explained == pytest.approx(oracle.explained_variance_ratio_.sum())


def test_training_rows_become_white(data):
    rows = projection.learn(data.x, 6)(data.x)
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(6), atol=1e-10)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-12)


def test_constant_features_and_fewer_rows_than_features(data):
    x = np.column_stack([np.full(120, 3.7), data.x, np.zeros(120)])
    found = projection.learn(x, 20)
    assert found.components.shape == (8, 6)
    np.testing.assert_allclose(np.abs(found(x)), np.abs(projection.learn(data.x, 20)(data.x)), atol=1e-8)
    assert projection.learn(np.random.default_rng(0).normal(size=(5, 40)), 64).components.shape == (40, 4)


def test_nothing_varies(data):
    with pytest.raises(LdlError, match="every feature is constant"):
        projection.learn(np.ones((4, 3)), 2)
