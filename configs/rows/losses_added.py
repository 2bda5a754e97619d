"""MTP-NasNet whose tasks' losses are simply added, in place of Eq. 1.

Command: python -m mtp.main --config=configs/rows/losses_added.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.loss.task_weight = "sum"
    return c
