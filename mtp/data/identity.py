"""Which pictures a data set holds, by their bytes: names may change, content may not."""

import hashlib

import numpy as np

from mtp.data.schema import Dataset, Pictures


def picture_hashes(pictures: Pictures, indices: np.ndarray) -> np.ndarray:
    """Sorted, distinct; of `hash_of_each`."""
    return np.unique(hash_of_each(pictures, indices))


def hash_of_each(pictures: Pictures, indices: np.ndarray) -> np.ndarray:
    """(N,) uint64: the first 64 bits of SHA-256 of a file's bytes, or of an array's."""
    if isinstance(pictures, Dataset) and pictures.hashes is not None:
        return pictures.hashes[indices]
    digests = [hashlib.sha256(_bytes(pictures, int(i))).digest()[:8] for i in indices]
    return np.frombuffer(b"".join(digests), np.uint64)


def sha256_of(hashes: np.ndarray) -> str:
    """One hash of `picture_hashes`, in hexadecimal."""
    return hashlib.sha256(hashes.tobytes()).hexdigest()


def labels_sha256(dataset: Dataset, indices: np.ndarray) -> str:
    """SHA-256 of the names, splits, votes and styles of these pictures."""
    names = [f"{dataset.splits[i]}/{dataset.images[i]}" for i in indices]
    digest = hashlib.sha256("\n".join([*dataset.style_names, *names]).encode())
    for labels in (dataset.votes, dataset.styles, dataset.tested_styles):
        digest.update(np.ascontiguousarray(labels[indices]).tobytes())
    return digest.hexdigest()


def _bytes(pictures: Pictures, index: int) -> bytes:
    found = pictures.read(index)
    return found.tobytes() if isinstance(found, np.ndarray) else found
