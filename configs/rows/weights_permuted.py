"""MTP-NasNet whose training pictures have one another's weights: a control.

Command: python -m mtp.main --config=configs/rows/weights_permuted.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.loss.reliability = "permuted"
    return c
