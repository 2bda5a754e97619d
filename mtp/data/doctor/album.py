"""The journal as columns: the pictures of a listing that can be decoded."""

import dataclasses

import numpy as np

from mtp.data import faults
from mtp.data.doctor import perceptual
from mtp.data.doctor.listing import Listing
from mtp.data.doctor.pictures import Journal, Seen
from mtp.data.faults import Fault
from mtp.data.schema import MIN_SIDE

SUFFIXES = {
    "jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF", "gif": "GIF",
    "bmp": "BMP", "avif": "AVIF",
}  # fmt: skip
BY_NAME = {kind.name: kind for kind in faults.KINDS}


@dataclasses.dataclass(frozen=True)
class Album:
    """M decodable pictures; place: (M,) their positions in the listing, ascending.

    sizes: (M, 2) height and width in pixels. digests: (M,) 16 bytes of the files' SHA-256. hashes: (M,) uint64 and
    greys: (M, 16, 16) uint8 of `perceptual.describe`.
    """

    place: np.ndarray
    sizes: np.ndarray
    digests: np.ndarray
    hashes: np.ndarray
    greys: np.ndarray


def read(listing: Listing, journal: Journal) -> tuple[Album, list[Fault]]:
    """The decodable pictures as columns, and what is wrong with any single picture."""
    place = {image: number for number, image in enumerate(listing.images)}
    count = len(place)
    sizes = np.zeros((count, 2), np.int32)
    digests = np.zeros(count, "V16")
    hashes = np.zeros(count, np.uint64)
    greys = np.zeros((count, perceptual.GREY, perceptual.GREY), np.uint8)
    found: list[Fault] = []
    for seen in journal:
        i = place.get(seen.image)
        if i is None:
            continue
        found += picture_faults(seen, listing)
        if not seen.fault:
            sizes[i] = seen.height, seen.width
            digests[i] = np.frombuffer(seen.digest, "V16")[0]
            hashes[i] = int.from_bytes(seen.hash, "little")
            greys[i] = np.frombuffer(seen.grey, np.uint8).reshape(greys.shape[1:])
    sound = np.flatnonzero(sizes[:, 0])
    return Album(sound, sizes[sound], digests[sound], hashes[sound], greys[sound]), found


def picture_faults(seen: Seen, listing: Listing) -> list[Fault]:
    """What is wrong with one picture by itself."""
    if seen.fault:
        kind = faults.KNOWN_BROKEN if seen.image in listing.known_broken else BY_NAME[seen.fault]
        return [Fault(kind, seen.image, seen.detail)]
    file_name = listing.file_name(seen.image)
    says = SUFFIXES.get(file_name.rpartition(".")[2].lower(), seen.format)
    shape = f"{seen.width}x{seen.height} pixels"
    checks = (
        (
            min(seen.height, seen.width) < MIN_SIDE,
            faults.TOO_SMALL,
            f"{shape}; sides must be at least {MIN_SIDE}",
        ),
        (says != seen.format, faults.WRONG_SUFFIX, f"{seen.format} in {file_name}"),
        (seen.mode == "CMYK", faults.CMYK, shape),
        (seen.deep, faults.SIXTEEN_BIT, f"{shape}, mode {seen.mode}"),
        (seen.transparent, faults.TRANSPARENT, f"{shape}, mode {seen.mode}"),
        (seen.animated, faults.ANIMATED, f"{seen.format}, {shape}"),
        (not seen.exif_whole, faults.EXIF_DAMAGED, f"{seen.format}, {shape}"),
    )
    return [Fault(kind, seen.image, detail) for wrong, kind, detail in checks if wrong]
