"""Pictures without votes: files of a folder, a list of files, or arrays."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mtp.data import images
from mtp.data.errors import DataError
from mtp.data.schema import Pictures, exif_notes
from mtp.files import walked
from mtp.names import shown

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif")


def of_folder(folder: Path, max_pixels: int) -> Pictures:
    """Every picture file in and below a folder, by its path in it; `skipped` names those that cannot be read.

    Hidden files and folders are passed over. Errors: DataError where there is no folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"pictures are looked for in a folder; there is no folder {folder}")
    files = (path for path in walked(folder) if path.suffix.lower() in SUFFIXES)
    found = {path.relative_to(folder).as_posix(): path for path in files}
    return _measured(folder.resolve().name, found, max_pixels)


def of_files(paths: Iterable[Path], max_pixels: int) -> Pictures:
    """These picture files, named as they are given; `skipped` names those that cannot be read."""
    return _measured("pictures", {str(path): path for path in paths}, max_pixels)


def of_arrays(arrays: Sequence[np.ndarray]) -> Pictures:
    """Upright pictures, uint8 (H, W, 3) each, named by their numbers. Errors: DataError on another array."""
    for number, array in enumerate(arrays):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise DataError(
                f"a picture must be an array of uint8 (height, width, 3); number {number} is {array.dtype} "
                f"{array.shape}"
            )
    return Pictures(
        name="arrays",
        images=tuple(map(str, range(len(arrays)))),
        sizes=np.array([array.shape[:2] for array in arrays], np.int32).reshape(-1, 2),
        read=lambda index: arrays[index],
    )


def _measured(name: str, paths: Mapping[str, Path], max_pixels: int) -> Pictures:
    """The files that are whole pictures, sorted by name. Errors: DataError where none is."""

    def measure(named: str) -> images.Header | str:
        if any("\udc80" <= sign <= "\udcff" for sign in named):  # bytes that Python could not read
            return f"{shown(named)}: the file's name must be UTF-8 to stand in a table; rename it"
        try:
            seen = images.inspect(paths[named].read_bytes(), named, max_pixels)
        except images.ImageError as error:
            return str(error)
        except OSError as error:
            return (
                f"{shown(named)}: the file cannot be read ({error.strerror}); correct its path or permissions"
            )
        return images.Header(seen.height, seen.width, seen.exif_whole)

    names = sorted(paths)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(measure, names))
    problems = tuple(each for each in found if isinstance(each, str))
    good = {named: header for named, header in zip(names, found, strict=True) if not isinstance(header, str)}
    if not good:
        first = f"; the first: {problems[0]}" if problems else f" (files ending in {', '.join(SUFFIXES)})"
        raise DataError(f"{name} must hold at least one picture that can be read; it has none{first}")
    kept = tuple(good)
    return Pictures(
        name=name,
        images=kept,
        sizes=np.array([(header.height, header.width) for header in good.values()], np.int32),
        read=lambda index: paths[kept[index]].read_bytes(),
        skipped=(*problems, *exif_notes([named for named, header in good.items() if not header.exif_whole])),
    )
