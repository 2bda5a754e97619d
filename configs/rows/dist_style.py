"""dist+style: NasNet-Wrap with the style task beside the distribution.

Command: python -m mtp.main --config=configs/rows/dist_style.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.nasnet_wrap import get_config as nasnet_wrap


def get_config(preset="ours"):
    c = nasnet_wrap(preset)
    c.model.tasks = ("distribution", "style")
    return c
