"""NasNet-Pad (section 4.4): every picture scaled into one square, with black around it.

Command: python -m mtp.main --config=configs/rows/nasnet_pad.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.gap_native import get_config as gap_native


def get_config(preset="ours"):
    c = gap_native(preset)
    presets.squares(c, preset, "pad")
    return c
