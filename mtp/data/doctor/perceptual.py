"""Look-alikes: pictures that are copies of one another after rescaling, recompression or a touch of editing.

A DCT hash of 64 bits finds candidates, multi-index hashing (Norouzi, Punjani and Fleet 2012, "Fast search in
Hamming space with multi-index hashing") finds them without comparing all pairs, and a correlation of 16x16 greys
at nearly the same aspect ratio confirms them. experiments/look_alikes.py measures both kinds of error.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt64
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 32  # pixels of the grey square that is transformed
KEPT = 8  # frequencies a side that are kept
GREY = 16  # pixels a side of the grey square that confirms
DISTANCE = 7  # differing bits at most
BANDS = 4  # a distance of at most 7 leaves a band of 16 bits with at most one differing bit
CORRELATION = 0.97  # of the greys, at least
ASPECT = 0.04  # difference of log aspect ratios at most: rounding to whole pixels at 50 pixels and more
CONTRAST = 4.0  # standard deviation of the grey, 0..255, below which there is nothing to compare
CHUNK = 1 << 20  # candidate pairs looked at together


def _basis() -> Float[np.ndarray, "8 32"]:
    """The first rows of the orthonormal DCT-II."""
    k, n = np.arange(KEPT)[:, None], np.arange(SIDE)
    rows = np.sqrt(2 / SIDE) * np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE))
    rows[0] /= np.sqrt(2)
    return rows


BASIS = _basis()


def describe(picture: Image.Image) -> tuple[int, UInt8[np.ndarray, "16 16"]]:
    """The hash and the grey of a picture of any size.

    Bit i of the hash: whether the i-th of the 8x8 lowest DCT coefficients exceeds their median (without the mean).
    """
    square = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    frequencies = (BASIS @ np.asarray(square, np.float64) @ BASIS.T).ravel()
    bits = np.packbits(frequencies > np.median(frequencies[1:]))
    grey = np.asarray(square.resize((GREY, GREY), Image.Resampling.BOX))
    return int.from_bytes(bits.tobytes(), "big"), grey


def groups(
    hashes: UInt64[np.ndarray, " N"], greys: UInt8[np.ndarray, "N 16 16"], aspects: Float[np.ndarray, " N"]
) -> Int[np.ndarray, " N"]:
    """A number for each picture, the same for those that a chain of look-alikes joins.

    aspects: width / height. Pictures without contrast stay alone.
    """
    number = np.arange(len(hashes))
    # without a copy of all greys as floats
    squares = np.einsum("nij,nij->n", greys, greys, dtype=np.float64) / GREY**2
    contrast = squares - np.square(greys.mean(axis=(1, 2))) >= CONTRAST**2
    for left, right in candidates(hashes):
        left, right = (side[contrast[left] & contrast[right]] for side in (left, right))
        same = _confirmed(greys, aspects, left, right)
        # the groups so far as edges, so that memory stays at N
        left = np.concatenate([np.arange(len(number)), left[same]])
        right = np.concatenate([number, right[same]])
        edges = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(number), len(number)))
        number = connected_components(edges, directed=False)[1]
        _, first, place = np.unique(number, return_index=True, return_inverse=True)
        number = first[place]
    return number


def candidates(hashes: UInt64[np.ndarray, " N"]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of positions with at most `DISTANCE` differing bits, in chunks; a pair may come more than once."""
    width = 64 // BANDS
    for band in range(BANDS):
        keys = (hashes >> np.uint64(band * width)) & np.uint64((1 << width) - 1)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for flipped in (0, *(1 << bit for bit in range(width))):
            for left, right in _meetings(keys, flipped):
                left, right = order[left], order[right]
                near = np.bitwise_count(hashes[left] ^ hashes[right]) <= DISTANCE
                if near.any():
                    yield left[near], right[near]


def _meetings(keys: UInt64[np.ndarray, " N"], flipped: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of positions in the sorted keys whose keys differ by exactly the bits `flipped`, each pair once."""
    sought = keys ^ np.uint64(flipped)
    end = np.searchsorted(keys, sought, side="right")
    if flipped:
        start = np.where(sought > keys, np.searchsorted(keys, sought), end)
    else:
        start = np.arange(1, len(keys) + 1)
    total = np.concatenate([[0], np.cumsum(end - start)])
    place = 0
    while place < len(keys):
        # at least one position, however many partners it has
        stop = max(place + 1, int(np.searchsorted(total, total[place] + CHUNK, side="right")) - 1)
        count = (end - start)[place:stop]
        left = np.repeat(np.arange(place, stop), count)
        offset = np.arange(len(left)) - np.repeat(total[place:stop] - total[place], count)
        if len(left):
            yield left, start[left] + offset
        place = stop


def _confirmed(
    greys: UInt8[np.ndarray, "N 16 16"], aspects: Float[np.ndarray, " N"], left: np.ndarray, right: np.ndarray
) -> Bool[np.ndarray, " P"]:
    """Whether each candidate pair has nearly the same aspect ratio and correlated greys."""
    same = np.abs(np.log(aspects[left] / aspects[right])) <= ASPECT
    for i in range(0, len(left), 4096):
        part = slice(i, i + 4096)
        a, b = (_standard(greys[side[part]].reshape(-1, GREY * GREY)) for side in (left, right))
        same[part] &= (a * b).mean(axis=1) >= CORRELATION
    return same


def _standard(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / rows.std(axis=1, keepdims=True)
