"""Look-alikes: the hash, the search against all pairs, what counts as alike and what does not."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from mtp.data.doctor import perceptual


def described(pictures):
    hashes, greys = zip(*map(perceptual.describe, pictures), strict=True)
    aspects = np.array([picture.width / picture.height for picture in pictures])
    return np.array(hashes, np.uint64), np.array(greys), aspects


def test_the_transform_is_scipys_orthonormal_dct():
    square = np.random.default_rng(0).normal(size=(32, 32))
    ours = perceptual.BASIS @ square @ perceptual.BASIS.T
    np.testing.assert_allclose(ours, dctn(square, norm="ortho")[:8, :8], atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 50, perceptual.CHUNK])
def test_the_search_finds_exactly_the_near_pairs(chunk, monkeypatch):
    monkeypatch.setattr(perceptual, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 150, dtype=np.uint64)
    # copies with 0 to 12 flipped bits, wherever they fall
    for i in range(0, 120, 2):
        flipped = rng.choice(64, int(rng.integers(0, 13)), replace=False)
        hashes[i + 1] = hashes[i] ^ np.bitwise_or.reduce(np.uint64(1) << flipped.astype(np.uint64), initial=0)
    # and bits of one band in common, as many pictures have
    hashes[120:] &= np.uint64(0xFFFFFFFFFFFF)
    left, right = np.triu_indices(len(hashes), 1)
    near = np.bitwise_count(hashes[left] ^ hashes[right]) <= perceptual.DISTANCE
    expected = set(zip(left[near].tolist(), right[near].tolist(), strict=True))
    found = {
        tuple(sorted(pair)) for chunk in perceptual.candidates(hashes) for pair in zip(*chunk, strict=True)
    }
    assert found == expected and len(expected) > 20


def test_copies_are_joined_and_others_are_not(draw):
    original = draw(0).resize((300, 200), Image.Resampling.BICUBIC)
    copies = [
        original,
        original.resize((150, 100)),
        ImageEnhance.Brightness(original).enhance(1.1),
        original.convert("L").convert("RGB"),
    ]
    pictures = [*copies, *(draw(i).resize((300, 200)) for i in range(1, 30))]
    numbers = perceptual.groups(*described(pictures))
    assert len(set(numbers[:4])) == 1 and len(set(numbers)) == 30


def test_another_aspect_ratio_is_another_picture(draw):
    pictures = [draw(0), draw(0).resize((90, 66))]
    hashes, _, _ = described(pictures)
    assert np.bitwise_count(hashes[0] ^ hashes[1]) <= perceptual.DISTANCE
    assert len(set(perceptual.groups(*described(pictures)))) == 2


def test_flat_pictures_have_nothing_to_compare():
    pictures = [Image.new("RGB", (60, 40), colour) for colour in ("white", "white", "black")]
    assert len(set(perceptual.groups(*described(pictures)))) == 3


def test_a_chain_is_one_group_in_any_order(draw):
    base = np.asarray(draw(0), np.float64)
    other = np.asarray(draw(1), np.float64)
    chain = [
        Image.fromarray((base + share * (other - base)).astype(np.uint8)) for share in np.linspace(0, 0.5, 9)
    ]
    hashes, greys, aspects = described(chain)
    ends = [0, len(chain) - 1]
    assert len(set(perceptual.groups(hashes[ends], greys[ends], aspects[ends]))) == 2
    assert len(set(perceptual.groups(hashes, greys, aspects))) == 1
    order = np.random.default_rng(0).permutation(len(chain))
    assert len(set(perceptual.groups(hashes[order], greys[order], aspects[order]))) == 1


def test_no_pictures_at_all():
    nothing = perceptual.groups(np.zeros(0, np.uint64), np.zeros((0, 16, 16), np.uint8), np.zeros(0))
    assert nothing.shape == (0,)
