"""DCNN (RAPID, Lu et al. 2014): a column for the whole picture, warped, and one for a square of it at its own scale.

Command: python -m mtp.main --config=configs/rows/dcnn.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.nasnet_wrap import get_config as nasnet_wrap


def get_config(preset="ours"):
    c = nasnet_wrap(preset)
    c.model.name = "dcnn"
    return c
