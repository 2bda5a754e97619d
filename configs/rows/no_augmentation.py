"""MTP-NasNet trained on the pictures as they are: no flips, no turns.

Command: python -m mtp.main --config=configs/rows/no_augmentation.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mtp_nasnet import get_config as mtp_nasnet


def get_config(preset="ours"):
    c = mtp_nasnet(preset)
    c.input.horizontal_flip = c.input.vertical_flip = c.input.quarter_turns = False
    return c
