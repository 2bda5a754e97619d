"""warp@native-area: every picture warped to a square of its own pixel count.

Command: python -m mtp.main --config=configs/rows/warp_native_area.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.kept import get_config as kept


def get_config(preset="ours"):
    c = kept(preset)
    presets.own_sizes(c, "warp=native")
    return c
