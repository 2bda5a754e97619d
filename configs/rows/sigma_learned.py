"""MTP-NasNet whose log sigmas of Eq. 1 are learned.

Command: python -m mtp.main --config=configs/rows/sigma_learned.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.loss.learn_sigma = True
    return c
