"""The data set that a configuration names."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mtp.config import CACHE, Config
from mtp.data.ava import load as ava_load
from mtp.data.demo import generate as demo
from mtp.data.schema import Dataset
from mtp.data.votes import load as votes


def load(config: Config) -> Dataset:
    """The photographs of `config.data`; builds the demo set on first use.

    Errors: DataError naming every bad row or picture.
    """
    return SOURCES[config.name](config)


def _ava(config: Config) -> Dataset:
    return ava_load.load(
        Path(config.dir),
        split=config.split,
        split_dir=config.split_dir,
        seed=config.split_seed,
        enlarge=config.enlarge,
    )


def _demo(config: Config) -> Dataset:
    folder = demo.prepare(
        Path(config.dir) if config.dir else CACHE,
        pictures=config.demo_pictures,
        seed=config.demo_seed,
        integrity=config.demo_integrity,
        styled=config.demo_styled,
    )
    return _folder(folder, config)


def _votes(config: Config) -> Dataset:
    return _folder(Path(config.dir), config)


def _folder(folder: Path, config: Config) -> Dataset:
    return votes.load(
        folder,
        csv=config.csv,
        group=config.group,
        folds=config.folds,
        fold=config.fold,
        seed=config.split_seed,
        max_skipped=config.max_skipped,
        enlarge=config.enlarge,
        max_pixels=config.max_decode_pixels,
    )


# by data.name
SOURCES: Mapping[str, Callable[[Config], Dataset]] = {"ava": _ava, "demo": _demo, "votes": _votes}
