"""NasNet-Wrap (section 4.4): every picture warped to one square, one global-average column, the distribution alone.

Command: python -m mtp.main --config=configs/rows/nasnet_wrap.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.gap_native import get_config as gap_native


def get_config(preset="ours"):
    c = gap_native(preset)
    presets.squares(c, preset, "warp")
    return c
