"""MTP-NasNet with Fig. 3's hierarchy: style feeds the class, both feed the distribution.

Command: python -m mtp.main --config=configs/rows/cascade.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.model.heads = "cascade"
    return c
