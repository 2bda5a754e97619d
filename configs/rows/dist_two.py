"""dist+two: NasNet-Wrap with the two-category task beside the distribution.

Command: python -m mtp.main --config=configs/rows/dist_two.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.nasnet_wrap import get_config as nasnet_wrap


def get_config(preset="ours"):
    c = nasnet_wrap(preset)
    c.model.tasks = ("distribution", "two_category")
    return c
