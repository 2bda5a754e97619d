"""The fully convolutional network of the paper's reference [7] (SIGIR 2017), on pictures of any size.

Command: python -m mtp.main --config=configs/rows/fcn_dist.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.gap_native import get_config as gap_native


def get_config(preset="ours"):
    c = gap_native(preset)
    c.model.columns = ("fcn",)
    c.model.fcn_hidden = 256
    return c
