"""The names that options choose among, from the packages that define them.

`python -m mtp.options` prints docs/options.md.
"""

from mtp.config import Known, page
from mtp.data import load
from mtp.data.ava import splits
from mtp.data.schema import SPLITS
from mtp.models.mtp_nasnet import COLUMNS, TASKS
from mtp.models.nasnet import NASNET_A


def known() -> Known:
    """For every option of the kind `Named`, the names that there are."""
    return {
        "data.name": tuple(load.SOURCES),
        "data.split": ("", *splits.NAMES),
        "model.backbone": tuple(NASNET_A),
        "model.columns": COLUMNS,
        "model.tasks": TASKS,
        "eval.split": (*SPLITS, "all"),
    }


if __name__ == "__main__":
    print(page.markdown(known()), end="")
