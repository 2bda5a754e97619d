"""Where an AVA download keeps the picture of an id, in the layouts that circulate."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mtp.files import walked

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """paths: id -> the file <id>.jpg, in whatever folder. repeated: ids with more than one file; the path
    with the fewest folders is taken. strays: pictures whose name is no id.
    """

    paths: Mapping[int, Path]
    repeated: Mapping[int, tuple[Path, ...]]
    strays: tuple[Path, ...]


def find_pictures(source: Path) -> Pictures:
    """Every picture file below the folder: images/, images/images/, flat, or sharded by the id's first digits.

    Errors: OSError where a folder cannot be read.
    """
    found: dict[int, list[Path]] = {}
    strays = []
    for path in walked(source):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem.isascii() and path.stem.isdigit():
            found.setdefault(int(path.stem), []).append(path)
        else:
            strays.append(path)
    ordered = {key: sorted(paths, key=lambda p: (len(p.parts), p)) for key, paths in sorted(found.items())}
    return Pictures(
        {key: paths[0] for key, paths in ordered.items()},
        {key: tuple(paths) for key, paths in ordered.items() if len(paths) > 1},
        tuple(sorted(strays)),
    )
