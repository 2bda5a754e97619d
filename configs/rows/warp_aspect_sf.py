"""warp + aspect ratio as a number, with SF-NasNet's two columns.

Command: python -m mtp.main --config=configs/rows/warp_aspect_sf.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.warp_aspect import get_config as warp_aspect


def get_config(preset="ours"):
    c = warp_aspect(preset)
    c.model.columns = presets.read(preset).columns
    return c
