"""VD-NasNet (section 3.3): NasNet-Wrap whose training pictures weigh as their raters agree.

Command: python -m mtp.main --config=configs/rows/vd_nasnet.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.nasnet_wrap import get_config as nasnet_wrap


def get_config(preset="ours"):
    c = nasnet_wrap(preset)
    c.loss.reliability = "variance"
    return c
