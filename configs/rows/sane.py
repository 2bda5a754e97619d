"""Like SANE (Cui et al. 2018): two trunks, for objects and for scenes, joined by a fully convolutional column.

There are no published weights of scenes here: both trunks begin alike, so that the printed SANE is another network.

Command: python -m mtp.main --config=configs/rows/sane.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.fcn_dist import get_config as fcn_dist


def get_config(preset="ours"):
    c = fcn_dist(preset)
    c.model.backbone = (c.model.backbone, c.model.backbone)
    c.model.fcn_hidden = 512
    return c
