"""Options: every one of them is a record of `records`; `check` holds all of a configuration against them.

A configuration is a ConfigDict: config.loss.emd_r.
"""

import os
import tempfile
from pathlib import Path

from mtp.config.check import check, idle
from mtp.config.option import Known, Reach
from mtp.config.records import OPTIONS
from mtp.config.values import Config, ConfigError, configured, flat, get_config, read_file


def _cache() -> Path:
    try:
        return Path.home() / ".cache" / "mtp"
    except RuntimeError:
        # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / f"mtp-{os.getuid()}"


# generated pictures, downloaded weights, compiled programs
CACHE = _cache()

__all__ = [
    "CACHE",
    "OPTIONS",
    "Config",
    "ConfigError",
    "Known",
    "Reach",
    "check",
    "configured",
    "flat",
    "get_config",
    "idle",
    "read_file",
]
