"""The data set that a configuration names."""

from pathlib import Path

from mtp.config import CACHE, Config, ConfigError
from mtp.data.ava import load as ava_load
from mtp.data.demo import generate as demo
from mtp.data.schema import Dataset
from mtp.data.votes import load as votes


def load(config: Config) -> Dataset:
    """The photographs of `config.data`; builds the demo set on first use.

    Errors: DataError naming every bad row or picture; ValueError on an unknown data.name.
    """
    if config.name != "ava" and (config.split or config.split_dir):
        raise ConfigError(
            "data.split and data.split_dir are for data.name=ava; other folders name splits in their CSV"
        )
    if config.name == "ava" and config.folds:
        raise ConfigError("data.folds is for folders with a CSV; data.name=ava has named splits (data.split)")
    match config.name:
        case "ava":
            if not config.dir:
                raise ConfigError("data.dir must name the --data_dir that python -m mtp.data.ava built")
            return ava_load.load(
                Path(config.dir),
                split=config.split,
                split_dir=config.split_dir,
                seed=config.split_seed,
                enlarge=config.enlarge,
            )
        case "demo":
            folder = demo.prepare(
                Path(config.dir) if config.dir else CACHE,
                pictures=config.demo_pictures,
                seed=config.demo_seed,
                integrity=config.demo_integrity,
                styled=config.demo_styled,
            )
        case "votes":
            if not config.dir:
                raise ConfigError(
                    "data.dir must name a folder of pictures with votes.csv, for instance --config.data.dir=photos"
                )
            folder = Path(config.dir)
        case other:
            raise ConfigError(f"data.name must be 'ava', 'demo' or 'votes', not {other!r}")
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
