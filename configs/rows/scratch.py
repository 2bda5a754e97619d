"""MTP-NasNet whose trunk begins from scratch.

Command: python -m mtp.main --config=configs/rows/scratch.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.model.weights = ""
    return c
