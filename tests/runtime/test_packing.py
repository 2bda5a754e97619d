"""Packing: whatever the tree, every array comes back bit by bit under its path."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtp.runtime import packing

SCALAR = np.float32(3)


def trees():
    rng = np.random.default_rng(0)
    yield {
        "a": rng.normal(size=(2, 3)).astype(np.float32),
        "b": [jnp.arange(4), SCALAR, np.zeros((0, 5), bool)],
    }
    # more than ten, so that paths sorted as text have another order than the list
    yield [rng.normal(size=n).astype(np.float32) for n in range(12)]
    yield {"half": jnp.array([1.5, -2], jnp.bfloat16), "bits": np.array([True, False])}


@pytest.mark.parametrize("tree", list(trees()))
def test_there_and_back(tree):
    arrays = packing.by_path(tree)
    vectors, listing = packing.packed(tree)
    # the order of what is wanted says nothing of the order in the vectors
    wanted = dict(sorted(arrays.items()))
    found = packing.unpacked(vectors, listing, wanted)
    assert found.keys() == arrays.keys() and listing == packing.listing(tree)
    assert packing.listing(found) == listing
    for path, array in arrays.items():
        assert found[path].tobytes() == np.asarray(array).tobytes()
    assert packing.lengths(listing) == {name: len(vector) for name, vector in vectors.items()}
