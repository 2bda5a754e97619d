"""Pictures that are there twice, by their bytes or by their looks, in one split or across splits."""

from collections.abc import Iterator, Sequence

import numpy as np

from mtp.data import faults
from mtp.data.doctor import perceptual
from mtp.data.doctor.album import Album
from mtp.data.doctor.listing import Listing
from mtp.data.faults import Fault, Kind

# where copies lie in several splits, those of the first of these stay: what tests is never touched
PRECEDENCE = ("test", "validation", "train")
SHOWN = 5  # partners named


def find(listing: Listing, album: Album) -> list[Fault]:
    """Files with the same bytes, then files that look alike; a picture that leaks as a file is not named again."""
    files = _clusters(np.unique(album.digests, return_inverse=True)[1])
    found = [
        f
        for members in files
        for f in _faults(listing, album.place[members].tolist(), faults.LEAK, faults.DUPLICATE)
    ]
    reported = {fault.image for fault in found}
    for members in _clusters(_alike(album)):
        for fault in _faults(listing, album.place[members].tolist(), faults.NEAR_LEAK, faults.NEAR_DUPLICATE):
            if fault.image not in reported:
                found.append(fault)
    return found


def _alike(album: Album) -> np.ndarray:
    """(M,) a number of each picture's cluster of look-alikes; files with the same bytes share theirs."""
    _, first, file = np.unique(album.digests, return_index=True, return_inverse=True)
    height, width = album.sizes[first].T
    return perceptual.groups(album.hashes[first], album.greys[first], width / height)[file]


def _clusters(numbers: np.ndarray) -> list[np.ndarray]:
    """Positions with the same number, ascending, where there are at least two."""
    _, number, count = np.unique(numbers, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(count[number] > 1)
    shared = shared[np.argsort(number[shared], kind="stable")]
    bounds = np.flatnonzero(np.diff(number[shared])) + 1
    return np.split(shared, bounds) if len(shared) else []


def _faults(listing: Listing, places: Sequence[int], leak: Kind, duplicate: Kind) -> Iterator[Fault]:
    """Of a cluster: a leak for every picture outside the split that keeps its own, a duplicate for each further one.

    Pictures that share a group are meant to be alike; those that stand aside of all splits do no harm.
    """
    places = [i for i in places if listing.splits[i] in PRECEDENCE]
    if not places:
        return
    keeps = min((listing.splits[i] for i in places), key=PRECEDENCE.index)
    kept = [i for i in places if listing.splits[i] == keeps]
    yield from (_fault(leak, listing, i, kept) for i in places if listing.splits[i] != keeps)
    yield from (
        _fault(duplicate, listing, i, kept[:1]) for i in kept[1:] if not _grouped(listing, i, kept[0])
    )


def _grouped(listing: Listing, one: int, other: int) -> bool:
    return listing.groups is not None and listing.groups[one] == listing.groups[other]


def _fault(kind: Kind, listing: Listing, place: int, partners: Sequence[int]) -> Fault:
    names = tuple(listing.images[i] for i in partners)
    named = ", ".join(f"{listing.images[i]} ({listing.splits[i]})" for i in partners[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return Fault(kind, listing.images[place], f"in {listing.splits[place]}, as {named}{more}", others=names)
