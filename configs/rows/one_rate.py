"""MTP-NasNet with one learning rate for trunk and columns.

Command: python -m mtp.main --config=configs/rows/one_rate.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.optim.heads_rate = c.optim.trunk_rate
    c.optim.heads_rate_by = "one"
    return c
