"""Configurations: all options with values, as the nested ConfigDict that code reads and flat by dotted name."""

import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ml_collections import ConfigDict, config_dict

from mtp.config.kinds import Location, Named, OrNone, tupled
from mtp.config.option import Option
from mtp.config.records import OPTIONS

# a ConfigDict, whose attributes a type checker would take for anything that any option can be
Config: TypeAlias = Any


class ConfigError(ValueError):
    """Options have values that cannot be; the message names each and the values that can."""


def get_config() -> Config:
    """The whole configuration with our defaults."""
    config: Config = ConfigDict()
    for option in OPTIONS.values():
        section = config.get(option.section) if option.section else config
        if section is None:
            section = config[option.section] = ConfigDict()
        section[option.name.removeprefix(f"{option.section}.")] = _default(option)
    return config


def _default(option: Option) -> Any:
    # a ConfigDict has to be told what else may take the place of a None, or of one name
    if isinstance(option.kind, OrNone) and option.default is None:
        return config_dict.placeholder(float)
    if isinstance(option.kind, Named) and option.kind.or_several:
        return config_dict.FieldReference(option.default, field_type=object)
    return option.default


def flat(config: Config | Mapping[str, Any]) -> dict[str, Any]:
    """All options of a configuration, or of one that was stored as JSON, by dotted name."""
    nested = config.to_dict() if isinstance(config, ConfigDict) else config
    return {
        f"{section}.{name}" if isinstance(inside, Mapping) else section: tupled(value)
        for section, inside in nested.items()
        for name, value in (inside.items() if isinstance(inside, Mapping) else ((section, inside),))
    }


def configured(values: Mapping[str, Any]) -> Config:
    """The defaults with these values, by dotted name, which `check` has passed; ~ in paths is the user's home."""
    config = get_config()
    kinds = {name: OPTIONS[name].kind for name in values}
    config.update_from_flattened_dict(
        {n: kinds[n].read(v) if isinstance(kinds[n], Location) else v for n, v in values.items()}
    )
    return config.lock()


def read_file(name: str | Path) -> Config:
    """What get_config() of a Python file returns, such as those in configs/; of FILE.py:TEXT get_config(TEXT).

    Errors: ConfigError where there is none, or it takes no text or not this one.
    """
    file, colon, preset = str(name).partition(".py:")
    path = Path(file + ".py" if colon else file).expanduser()
    if not path.is_file():
        raise ConfigError(f"--config must be a Python file with get_config(); there is no {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config must be a Python file with get_config(), not {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"--config must be a Python file with get_config(); {path} has none")
    if colon and not inspect.signature(module.get_config).parameters:
        raise ConfigError(f"--config={path} has no presets; leave out :{preset}")
    return module.get_config(preset) if colon else module.get_config()
