"""keep-aspect@area: every picture scaled to the square's pixel count, its aspect ratio kept.

Command: python -m mtp.main --config=configs/rows/keep_aspect.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.kept import get_config as kept


def get_config(preset="ours"):
    c = kept(preset)
    presets.own_sizes(c, f"area={presets.read(preset).side ** 2}")
    return c
