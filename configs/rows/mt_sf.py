"""MT+SF: MTP-NasNet whose training pictures all weigh the same.

Command: python -m mtp.main --config=configs/rows/mt_sf.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.loss.reliability = "none"
    return c
