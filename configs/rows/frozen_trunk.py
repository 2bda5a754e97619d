"""MTP-NasNet whose trunk stays as it was loaded.

Command: python -m mtp.main --config=configs/rows/frozen_trunk.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.optim.freeze_steps = -1
    return c
