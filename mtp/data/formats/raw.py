"""Cameras' RAW files that are no TIFF, by their first bytes; those in the dress of a TIFF are told in `tiff`."""

STARTS = {
    b"IIRO": "Olympus ORF", b"IIRS": "Olympus ORF", b"MMOR": "Olympus ORF", b"IIU\0": "Panasonic RW2",
    b"FUJIFILMCCD-RAW": "Fujifilm RAF", b"FOVb": "Sigma X3F", b"\0MRM": "Minolta MRW",
}  # fmt: skip
CANON = {8: (b"CR", "Canon CR2"), 4: (b"ftypcrx ", "Canon CR3"), 6: (b"HEAPCCDR", "Canon CRW")}


def camera(data: bytes) -> str | None:
    """The camera's format; None where the first bytes tell of none."""
    for start, name in STARTS.items():
        if data.startswith(start):
            return name
    for place, (mark, name) in CANON.items():
        if data[place : place + len(mark)] == mark and (place != 8 or data[:4] == b"II*\0"):
            return name
    return None
