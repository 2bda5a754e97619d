"""run.native: by which path a process computes the trunk, the native kernels or the plain operations."""

from collections.abc import Mapping
from typing import Any

import jax

from mtp.config import Config, ConfigError, configured, flat
from mtp.native import library
from mtp.processes import ending

AUTO, ON, OFF = "auto", "on", "off"


def resolved(config: Config) -> Config:
    """The configuration with run.native "on" or "off" where it was "auto" and this process computes on a CPU.

    auto: "on" where the kernels can be built and their self-check agrees with the plain path; else "off", and a line
    says why. On accelerators nothing is resolved: there is one path.
    Errors: ConfigError where it is "on" and the kernels cannot be used.
    """
    wanted = config.run.native
    if wanted == OFF or jax.default_backend() != "cpu":
        return config
    try:
        library.load()
    except (ConfigError, OSError) as error:
        reason = ending.explained(error) if isinstance(error, OSError) else str(error)
        if wanted == ON:
            raise ConfigError(
                f"run.native=on, as given or as this run began, cannot be: {reason}. --config.run.native=off goes "
                "without the kernels; its last digits are others."
            ) from error
        print(f"note: the plain path (run.native=auto): {reason}")
        return with_native(config, OFF)
    return with_native(config, ON)


def for_inference(trained: Mapping[str, Any]) -> dict[str, Any]:
    """A training's options, by dotted name, for predictions, maybe elsewhere: its kernels become auto."""
    return {**trained, "run.native": AUTO if trained["run.native"] == ON else trained["run.native"]}


def with_native(config: Config, native: str) -> Config:
    """The configuration with another run.native."""
    return configured({**flat(config), "run.native": native})
