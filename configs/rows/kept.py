"""native in training, too: one global-average column on canvases of pictures as they are.

Command: python -m mtp.main --config=configs/rows/kept.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.gap_native import get_config as gap_native


def get_config(preset="ours"):
    c = gap_native(preset)
    presets.own_sizes(c, "native")
    return c
