"""Integrity-preserving image aesthetic assessment: photographs at their own size and aspect ratio.

The public names, each imported when it is first asked for, so that `import mtp` itself costs nothing:

    from mtp.data.pictures import of_folder

    predictor = mtp.Predictor.load(Path("runs/mine"))
    predictions = predictor.predict(of_folder(Path("photos"), max_pixels=100_000_000))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtp.config import ConfigError, get_config
    from mtp.data.schema import DataError, Dataset, Pictures
    from mtp.evaluation.metrics import METRICS
    from mtp.inference.predictions import Predictions
    from mtp.inference.predictor import Predictor
    from mtp.models.backbones import BACKBONES
    from mtp.models.model import Model
    from mtp.tasks import TASKS

# name -> the module that defines it
_MODULES = {
    "BACKBONES": "mtp.models.backbones",
    "ConfigError": "mtp.config",
    "DataError": "mtp.data.schema",
    "Dataset": "mtp.data.schema",
    "METRICS": "mtp.evaluation.metrics",
    "Model": "mtp.models.model",
    "Pictures": "mtp.data.schema",
    "Predictions": "mtp.inference.predictions",
    "Predictor": "mtp.inference.predictor",
    "TASKS": "mtp.tasks",
    "get_config": "mtp.config",
}
__all__ = [
    "BACKBONES",
    "METRICS",
    "TASKS",
    "ConfigError",
    "DataError",
    "Dataset",
    "Model",
    "Pictures",
    "Predictions",
    "Predictor",
    "get_config",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
