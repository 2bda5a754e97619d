"""The names that options choose among, from the packages that define them.

`python -m mtp.options` prints docs/options.md.
"""

from mtp.config import Known, page
from mtp.data import load
from mtp.data.ava import splits
from mtp.data.schema import SPLITS
from mtp.inference.models import MODELS
from mtp.models.backbones import BACKBONES
from mtp.models.heads import COLUMNS
from mtp.tasks import TASKS


def known() -> Known:
    """For every option of the kind `Named`, the names that there are."""
    return {
        "data.name": tuple(load.SOURCES),
        "data.split": ("", *splits.NAMES),
        "model.name": tuple(MODELS),
        "model.backbone": tuple(BACKBONES),
        "model.columns": tuple(COLUMNS),
        "model.tasks": tuple(TASKS),
        "eval.split": (*SPLITS, "all"),
    }


if __name__ == "__main__":
    print(page.markdown(known()), end="")
