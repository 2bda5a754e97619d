"""MT-NasNet (section 3.1): NasNet-Wrap with all three tasks.

Command: python -m mtp.main --config=configs/rows/mt_nasnet.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.nasnet_wrap import get_config as nasnet_wrap


def get_config(preset="ours"):
    c = nasnet_wrap(preset)
    c.model.tasks = ("distribution", "two_category", "style")
    return c
