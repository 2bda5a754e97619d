"""NasNet-Crop (section 4.4): of every picture a square at its own scale, anywhere in training, the middle in
evaluation.

Command: python -m mtp.main --config=configs/rows/nasnet_crop.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.gap_native import get_config as gap_native


def get_config(preset="ours"):
    c = gap_native(preset)
    presets.squares(c, preset, "crop")
    return c
