"""From what a data set says and what its pictures show to everything that is wrong with it."""

import dataclasses
from collections.abc import Collection
from itertools import groupby

import numpy as np

from mtp.data import faults, splits
from mtp.data.doctor import album, copies
from mtp.data.doctor.listing import Listing
from mtp.data.doctor.pictures import Journal
from mtp.data.faults import Fault, Kind

ORDER = {kind: number for number, kind in enumerate(faults.KINDS)}


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """faults: in the order of `faults.KINDS`, then of images. sizes: (M, 2) height, width of decodable pictures."""

    listing: Listing
    faults: tuple[Fault, ...]
    sizes: np.ndarray

    @property
    def affects_training(self) -> bool:
        return any(fault.kind.affects_training for fault in self.faults)

    def by_kind(self) -> list[tuple[Kind, list[Fault]]]:
        return [(kind, list(found)) for kind, found in groupby(self.faults, key=lambda fault: fault.kind)]

    def exclusions(self) -> dict[str, str]:
        """Image -> reason: what can be fixed by leaving pictures out; a picture's gravest fault gives the reason."""
        found = [f for f in self.faults if f.kind.exclude and f.image]
        return {f.image: f"{f.kind.name}: {f}" for f in reversed(found)}

    def remaining(self, left_out: Collection[str]) -> list[Fault]:
        """Faults that stay when these pictures are left out; a torn group's bears the name of one picture of many."""
        of = self.listing
        kept = [i for i, image in enumerate(of.images) if image not in left_out]
        groups = of.groups or of.images
        torn = splits.torn_groups([of.splits[i] for i in kept], [groups[i] for i in kept])
        group = dict(zip(of.images, groups, strict=True))

        def stays(fault: Fault) -> bool:
            if fault.kind is faults.TORN_GROUP:
                return group[fault.image] in torn
            return fault.image not in left_out

        return [fault for fault in self.faults if stays(fault)]


def diagnose(listing: Listing, journal: Journal, min_raters: int) -> Diagnosis:
    """Everything that is wrong; every picture of the listing must stand in the journal."""
    sound, of_pictures = album.read(listing, journal)
    found = [
        *listing.faults, *of_pictures, *_few_raters(listing, min_raters), *_torn(listing),
        *copies.find(listing, sound),
    ]  # fmt: skip
    ordered = sorted(found, key=lambda fault: (ORDER[fault.kind], fault.image))
    return Diagnosis(listing, tuple(ordered), sound.sizes)


def _few_raters(listing: Listing, least: int) -> list[Fault]:
    raters = listing.votes.sum(axis=1)
    few = np.flatnonzero((raters > 0) & (raters < least))
    return [Fault(faults.FEW_RATERS, listing.images[i], f"{raters[i]} of at least {least}") for i in few]


def _torn(listing: Listing) -> list[Fault]:
    if listing.groups is None:
        return []
    torn = splits.torn_groups(listing.splits, listing.groups)
    first = dict(zip(reversed(listing.groups), reversed(listing.images), strict=True))
    return [Fault(faults.TORN_GROUP, first[g], f"group {g!r} lies in {', '.join(torn[g])}") for g in torn]
