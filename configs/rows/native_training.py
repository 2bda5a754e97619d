"""MTP-NasNet trained on canvases, every picture at its own size, as in evaluation.

Command: python -m mtp.main --config=configs/rows/native_training.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    presets.own_sizes(c, "native")
    return c
