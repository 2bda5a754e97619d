"""Which pictures a data set holds, by their bytes: names may change, content may not."""

import hashlib

import numpy as np

from mtp.data.schema import Dataset


def picture_hashes(dataset: Dataset, indices: np.ndarray) -> np.ndarray:
    """Sorted, distinct; the first 64 bits of SHA-256."""
    if dataset.hashes is not None:
        return np.unique(dataset.hashes[indices])
    digests = [hashlib.sha256(dataset.read(int(i))).digest()[:8] for i in indices]
    return np.unique(np.frombuffer(b"".join(digests), np.uint64))
