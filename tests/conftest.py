"""What tests share: where compiled programs are kept, real photographs, pictures on canvases."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import numpy as np
import pytest

from mtp.config import CACHE

jax.config.update("jax_compilation_cache_dir", str(CACHE / "xla-tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

Canvas = Callable[..., tuple[np.ndarray, np.ndarray]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast ones first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photographs with votes, which are not part of the repository."""
    given = os.environ.get("MTP_SHARED_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real photographs: neither $MTP_SHARED_DATA nor {folder} is a folder")
    return folder


@pytest.fixture(scope="session")
def canvas() -> Canvas:
    """(pictures, height, width, fill) -> canvases (B, height, width, 3) and sizes (B, 2).

    Written apart from the pipeline's own placement: bottom-right, an even side without its last line.
    """

    def place(
        pictures: Sequence[np.ndarray], height: int, width: int, fill: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        canvases = np.full((len(pictures), height, width, 3), fill, np.uint8)
        sizes = np.zeros((len(pictures), 2), np.int32)
        for i, picture in enumerate(pictures):
            h, w = (side - 1 if side % 2 == 0 else side for side in picture.shape[:2])
            canvases[i, height - h :, width - w :] = picture[:h, :w]
            sizes[i] = h, w
        return canvases, sizes

    return place


@pytest.fixture(scope="session")
def trained_small(tmp_path_factory) -> tuple[Path, Path]:
    """(workdir, pictures with votes) of a finished run with the small backbone of `tests.runs`."""
    # not at the top: what is imported before pytest is configured has its annotated shapes unchecked
    from tests import runs

    folder = tmp_path_factory.mktemp("small")
    photos = runs.make_folder(folder / "photos", 40, 0)
    runs.run(runs.train(folder / "run", photos))
    return folder / "run", photos
