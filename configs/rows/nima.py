"""NIMA (Talebi and Milanfar 2018): NasNet-Wrap seen through a random window in training, with dropout.

Command: python -m mtp.main --config=configs/rows/nima.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.nasnet_wrap import get_config as nasnet_wrap


def get_config(preset="ours"):
    c = nasnet_wrap(preset)
    c.model.name = "nima"
    return c
