"""What a set of photographs is, without labels and with them, whatever files it came from."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mtp.data import images as decoder
from mtp.data.errors import DataError
from mtp.names import shown

SPLITS = ("train", "validation", "test")
MIN_SIDE = 32  # pixels; below it NASNet's last map would be empty


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
    """N photographs.

    images: name of each picture, for files the path relative to their folder; unique.
    sizes: (N, 2) int32, height and width in pixels of the upright picture (EXIF orientation applied).
    read: index -> the picture file's bytes, or the upright picture itself, uint8 (H, W, 3).
    skipped: what was left out and why: one message for each picture, or one for all of a kind.
    """

    name: str
    images: tuple[str, ...]
    sizes: np.ndarray
    read: Callable[[int], bytes | np.ndarray]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, index: int, max_pixels: int) -> np.ndarray:
        """The upright picture, uint8 (H, W, 3). Errors: ImageError where a file is not a whole picture."""
        found = self.read(index)
        if isinstance(found, np.ndarray):
            return found
        return decoder.decode(found, self.images[index], max_pixels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset(Pictures):
    """N photographs with votes, sorted by `images`; `read` gives files.

    votes: (N, K) int64, how many raters gave rating 1..K; every row has at least one vote.
    splits: N names out of `SPLITS`, or "" for a picture that stands aside.
    groups: N names, pictures that no split and no bootstrap may tear apart; None where there are none.
    styles: (N, S) float32 of 0 and 1; a row of NaN has no style label.
    style_tests: labels like `styles` that never train and alone are tested on (AVA); None: `styles` serve both.
    style_names: the S styles.
    metadata: further columns by name, N strings each.
    hashes: (N,) uint64, the first 64 bits of SHA-256 of the pictures' bytes, where they are known beforehand.
    means_only: `votes` tell nothing but each picture's mean rating (`means.votes`).
    """

    read: Callable[[int], bytes]
    votes: np.ndarray
    splits: tuple[str, ...]
    groups: tuple[str, ...] | None
    styles: np.ndarray
    style_names: tuple[str, ...]
    metadata: Mapping[str, tuple[str, ...]]
    style_tests: np.ndarray | None = None
    hashes: np.ndarray | None = None
    means_only: bool = False

    @property
    def ratings(self) -> int:
        """K, the number of steps on the rating scale."""
        return self.votes.shape[1]

    @property
    def tested_styles(self) -> np.ndarray:
        """(N, S) the labels that average precision is measured on."""
        return self.styles if self.style_tests is None else self.style_tests

    def indices(self, split: str) -> np.ndarray:
        """Positions of the pictures of `split` ("all" for every one), ascending."""
        if split == "all":
            return np.arange(len(self))
        if split not in SPLITS:
            raise DataError(f"a split is one of {', '.join(SPLITS)} or all, not {split!r}")
        return np.flatnonzero(np.array(self.splits) == split)

    def with_split(self, source: str, joining: str) -> "Dataset":
        """The same pictures, with those of the split `source` in the split `joining`."""
        return dataclasses.replace(self, splits=tuple(joining if s == source else s for s in self.splits))

    def split_sha256(self, split: str) -> str:
        """Hash of which pictures are in `split`: SHA-256 of their sorted names, one a line."""
        names = "\n".join(self.images[i] for i in self.indices(split))
        return hashlib.sha256(names.encode()).hexdigest()


def exif_notes(damaged: Sequence[str]) -> tuple[str, ...]:
    """What a loader says, once, of all pictures whose EXIF block is damaged; damaged: their names."""
    if not damaged:
        return ()
    one = len(damaged) == 1
    return (
        f"{len(damaged)} picture{'s' * (not one)} with a damaged EXIF block, taken as {'it is' if one else 'they are'} "
        f"stored ({'it is' if one else 'the first is'} {shown(damaged[0])})",
    )


def enlarged_notes(sizes: np.ndarray) -> tuple[str, ...]:
    """What a loader says of pictures of these sizes (N, 2) where some are too small for the network."""
    small = int((sizes.min(axis=1) < MIN_SIDE).sum())
    if not small:
        return ()
    return (f"{small} pictures with a side under {MIN_SIDE} pixels are enlarged (data.enlarge)",)
