"""A made-up AVA download for tests: rows, lists, styles and small pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CATEGORIES = ("animal", "portrait")


def make(folder: Path, pictures: int = 60, size: tuple[int, int] = (48, 64), seed: int = 0) -> Path:
    """Ids 101, 102, ..; every fifth is in generic_test, with two ids that have no row; votes follow brightness.

    Of the others, and of some test pictures, every third has a style label for training; three ids are style tests:
    the first of the test split, one outside it, and one without any style.
    """
    rng = np.random.default_rng(seed)
    images = folder / "images"
    images.mkdir(parents=True)
    ids = [101 + n for n in range(pictures)]
    rows = []
    for n, key in enumerate(ids):
        bright = rng.random()
        pixels = rng.normal(255 * bright, 30, (*size, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(images / f"{key}.jpg", quality=90)
        votes = rng.multinomial(
            100, np.histogram(rng.normal(2 + 7 * bright, 1.4, 500).clip(1, 10), 10, (1, 10))[0] / 500
        )
        rows.append(f"{n + 1} {key} {' '.join(map(str, votes))} {n % 3} {n % 67} {1 + n % 25}")
    (folder / "AVA.txt").write_text("\n".join(rows) + "\n")
    (folder / "tags.txt").write_text("\n" + "".join(f"{t} Tag {t}\n" for t in range(1, 67)))
    (folder / "challenges.txt").write_text("".join(f"{c} Name_{c}\n" for c in range(1, 25)))
    test = ids[::5]
    write_lists(folder / "aesthetics_image_lists", ids, test)
    write_styles(folder / "style_image_lists", [k for k in ids[5::3]], [test[0], ids[1], ids[2]])
    return folder


@pytest.fixture(scope="session")
def make_ava() -> Callable[..., Path]:
    """`make`: a made-up AVA download in a folder."""
    return make


def write_lists(folder: Path, ids: list[int], test: list[int]) -> None:
    folder.mkdir()
    train = [key for key in ids if key not in test]
    lists = {
        "generic_test": [*test, 90001, 90002],
        "generic_ls_train": train[:30],
        "generic_ss_train": train[:10],
    }
    for n, category in enumerate(CATEGORIES):
        lists |= {f"{category}_test": test[n::2], f"{category}_train": train[n::2]}
    for name, listed in lists.items():
        (folder / f"{name}.jpgl").write_text("".join(f"{key}\n" for key in listed))


def write_styles(folder: Path, train: list[int], test: list[int]) -> None:
    folder.mkdir()
    train = [key for key in train if key not in test]
    (folder / "styles.txt").write_text("".join(f"{s} Style_{s}\n" for s in range(1, 15)))
    (folder / "train.jpgl").write_text("".join(f"{key}\n" for key in train))
    (folder / "train.lab").write_text("".join(f"{1 + key % 14}\n" for key in train))
    (folder / "test.jpgl").write_text("".join(f"{key}\n" for key in test))
    rows = ["1 0 1" + " 0" * 11, "0 1" + " 0" * 12, "0" + " 0" * 13]
    (folder / "test.multilab").write_text("\n".join(rows[: len(test)]) + "\n")
