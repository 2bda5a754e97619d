"""keep-aspect@area with SF-NasNet's two columns.

Command: python -m mtp.main --config=configs/rows/keep_aspect_sf.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.keep_aspect import get_config as keep_aspect


def get_config(preset="ours"):
    c = keep_aspect(preset)
    c.model.columns = presets.read(preset).columns
    return c
