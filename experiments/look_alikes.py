"""How sure the doctor's search for look-alikes is.  python -m experiments.look_alikes [FOLDER ...]

FOLDERs of pictures that are known to be all different; without any, the demo set, whose plain scenes are much harder
to tell apart than photographs. For each: how many of all pairs are taken for look-alikes (none should be), and the
share of pictures that are still joined with their own copy after an edit. Prints a Markdown table.
"""

import datetime
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from mtp.config import CACHE
from mtp.data import images
from mtp.data.demo import generate as demo
from mtp.data.doctor import perceptual

COPIES = 300  # pictures of a folder that are edited, evenly spread
LIMIT = 100_000_000  # pixels


def _scaled(picture: Image.Image, factor: float) -> Image.Image:
    return picture.resize(
        (round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BICUBIC
    )


def _cropped(picture: Image.Image, share: float) -> Image.Image:
    w, h = round(picture.width * share), round(picture.height * share)
    return picture.crop((w, h, picture.width - w, picture.height - h))


# name -> the edit, and the quality at which its JPEG is saved
EDITS: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "JPEG quality 50": (lambda p: p, 50),
    "JPEG quality 20": (lambda p: p, 20),
    "half size": (lambda p: _scaled(p, 1 / 2), 85),
    "a third of the size": (lambda p: _scaled(p, 1 / 3), 85),
    "10 % brighter": (lambda p: ImageEnhance.Brightness(p).enhance(1.1), 85),
    "20 % more contrast": (lambda p: ImageEnhance.Contrast(p).enhance(1.2), 85),
    "grey": (lambda p: ImageOps.grayscale(p).convert("RGB"), 85),
    "2 % cropped at each side": (lambda p: _cropped(p, 0.02), 85),
    "5 % cropped at each side": (lambda p: _cropped(p, 0.05), 85),
    "mirrored": (ImageOps.mirror, 85),
}


def described(data: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes, greys and aspect ratios of pictures as the doctor sees them."""
    found = [images.inspect(picture, "picture", LIMIT) for picture in data]
    hashes, greys = zip(*(perceptual.describe(one.small) for one in found), strict=True)
    return np.array(hashes, np.uint64), np.array(greys), np.array([one.width / one.height for one in found])


def edited(data: bytes, edit: Callable[[Image.Image], Image.Image], quality: int) -> bytes:
    picture = edit(Image.fromarray(images.decode(data, "picture", LIMIT)))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def found_again(original: Sequence[np.ndarray], copies: Sequence[np.ndarray]) -> float:
    """The share of pictures in one group with their copy, each pair looked at alone."""
    joined = 0
    for i in range(len(original[0])):
        pair = [np.array([one[i], other[i]]) for one, other in zip(original, copies, strict=True)]
        numbers = perceptual.groups(*pair)
        joined += int(numbers[0] == numbers[1])
    return joined / len(original[0])


def measure(folder: Path) -> list[str]:
    """The folder's column of the table."""
    files = sorted(path for path in (folder / "images").iterdir())
    data = [path.read_bytes() for path in files]
    numbers = perceptual.groups(*described(data))
    sizes = np.unique(numbers, return_counts=True)[1]
    wrong = int((sizes * (sizes - 1) // 2).sum())
    chosen = data[:: max(1, len(data) // COPIES)]
    original = described(chosen)
    shares = [
        found_again(original, described([edited(one, edit, quality) for one in chosen]))
        for edit, quality in EDITS.values()
    ]
    pairs = len(data) * (len(data) - 1) // 2
    return [
        f"{folder.name.split('-')[0]}, {len(data)} pictures",
        f"{wrong} of {pairs}",
        *(f"{s:.3f}" for s in shares),
    ]


def main() -> None:
    folders = [Path(argument) for argument in sys.argv[1:]] or [demo.prepare(CACHE)]
    columns = [
        ["", "different pictures taken for look-alikes, pairs", *(f"found again: {name}" for name in EDITS)]
    ]
    columns += [measure(folder) for folder in folders]
    print(
        f"{datetime.date.today()}, {perceptual.DISTANCE} of 64 bits, correlation {perceptual.CORRELATION}\n"
    )
    for number, row in enumerate(zip(*columns, strict=True)):
        print("| " + " | ".join(row) + " |")
        if number == 0:
            print("| " + " | ".join("---" for _ in row) + " |")


if __name__ == "__main__":
    main()
