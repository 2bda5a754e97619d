"""MTP-NasNet with a trunk of its own for each column.

Command: python -m mtp.main --config=configs/rows/two_trunks.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.model.trunks = len(c.model.columns)
    return c
