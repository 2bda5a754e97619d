"""two only: NasNet-Wrap that learns high or low alone, and no distribution.

Command: python -m mtp.main --config=configs/rows/two_only.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.nasnet_wrap import get_config as nasnet_wrap


def get_config(preset="ours"):
    c = nasnet_wrap(preset)
    c.model.tasks = ("two_category",)
    return c
