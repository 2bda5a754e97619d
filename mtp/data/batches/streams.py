"""Random streams by name: nothing reads a clock or a global generator."""

import hashlib

import numpy as np


def stream(seed: int, name: str, *position: int) -> np.random.Generator:
    """A generator of its own for each named purpose and position."""
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return np.random.default_rng([seed, word, *position])
