"""Which damage to a picture file is found.  python -m experiments.damage FOLDER

FOLDER: of photographs, 40 of which are saved in every format, with small sides, and then damaged: cut short and closed
as the format ends, blocks of zeros, bytes lost, a byte changed, each at a place drawn among the coded pixels. Prints a
Markdown table: the share that the decoder refuses, and of the others the mean share of pixels that are wrong (by more
than 8 of 255); and how many of the whole files, and of the folder's own, it refuses.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mtp.config import get_config
from mtp.data import images

FILES, TRIES, SIDE = 40, 5, 480
WRONG = 8  # of 255
LIMIT = get_config().data.max_decode_pixels
FORMATS: dict[str, tuple[str, dict]] = {
    "JPEG, quality 75": ("JPEG", {"quality": 75}),
    "JPEG, quality 95, 4:4:4": ("JPEG", {"quality": 95, "subsampling": 0}),
    "JPEG, restart marks": ("JPEG", {"quality": 85, "restart_marker_blocks": 16}),
    "JPEG, progressive, quality 85": ("JPEG", {"quality": 85, "progressive": True}),
    "PNG": ("PNG", {}),
    "WebP, quality 80": ("WEBP", {"quality": 80}),
    "WebP, lossless": ("WEBP", {"lossless": True, "method": 1}),
    "AVIF": ("AVIF", {"speed": 9}),
    "GIF": ("GIF", {}),
    "TIFF, LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "TIFF, deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, JPEG": ("TIFF", {"compression": "jpeg"}),
    "TIFF, PackBits": ("TIFF", {"compression": "packbits"}),
    "TIFF, Zstandard": ("TIFF", {"compression": "zstd"}),
    "BMP": ("BMP", {}),
}
HEADER = 1500  # bytes at the beginning, and 700 at the end, that are left alone


def zeros(count: int) -> Callable[[bytes, int], bytes]:
    return lambda data, place: data[:place] + bytes(count) + data[place + count :]


def lost(count: int) -> Callable[[bytes, int], bytes]:
    return lambda data, place: data[:place] + data[place + count :]


DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "cut and closed": lambda data, place: data[:place] + data[-2:],
    "512 zeros": zeros(512),
    "64 zeros": zeros(64),
    "300 bytes lost": lost(300),
    "30 bytes lost": lost(30),
    "a byte changed": lambda data, place: data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :],
}


def decoded(data: bytes) -> np.ndarray | None:
    try:
        return images.decode(data, "picture", LIMIT).astype(int)
    except images.ImageError:
        return None


def row(name: str, photographs: list[Image.Image]) -> list[str]:
    """The format's row of the table."""
    kind, options = FORMATS[name]
    rng = np.random.default_rng(0)
    refused = 0
    found: dict[str, list[float]] = {damage: [] for damage in DAMAGES}
    for photograph in photographs:
        buffer = io.BytesIO()
        photograph.save(buffer, kind, **options)
        data = buffer.getvalue()
        whole = decoded(data)
        refused += whole is None
        if whole is None or len(data) < HEADER + 1400:
            continue
        for damage, change in DAMAGES.items():
            for place in rng.integers(HEADER, len(data) - 700, TRIES).tolist():
                pixels = decoded(change(data, place))
                # NaN: found
                found[damage].append(
                    np.nan if pixels is None else float((abs(pixels - whole).max(axis=2) > WRONG).mean())
                )
    return [name, str(refused), *(cell(np.array(shares)) for shares in found.values())]


def cell(wrong: np.ndarray) -> str:
    missed = wrong[~np.isnan(wrong)]
    text = f"{100 * (1 - len(missed) / len(wrong)):.0f} %"
    return f"{text} ({100 * missed.mean():.1f})" if len(missed) else text


def main() -> None:
    files = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    refused = sum(decoded(path.read_bytes()) is None for path in files)
    photographs = []
    for path in files[:: max(1, len(files) // FILES)][:FILES]:
        photograph = Image.fromarray(images.decode(path.read_bytes(), path.name, LIMIT))
        photograph.thumbnail((SIDE, SIDE))
        photographs.append(photograph)
    print(
        f"{len(files)} JPEGs as they are: {refused} refused. Of {len(photographs)} saved anew, {TRIES} places each:\n"
    )
    print("| format | whole files refused | " + " | ".join(DAMAGES) + " |")
    print("|---" * (2 + len(DAMAGES)) + "|")
    for name in FORMATS:
        print("| " + " | ".join(row(name, photographs)) + " |", flush=True)


if __name__ == "__main__":
    main()
