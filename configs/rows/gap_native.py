"""gap@native: one global-average column on pictures of any size, which needs no column of its own for that.

Command: python -m mtp.main --config=configs/rows/gap_native.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets


def get_config(preset="ours"):
    return presets.single_column(preset)
