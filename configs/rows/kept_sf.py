"""native in training, too, with SF-NasNet's two columns.

Command: python -m mtp.main --config=configs/rows/kept_sf.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.kept import get_config as kept


def get_config(preset="ours"):
    c = kept(preset)
    c.model.columns = presets.read(preset).columns
    return c
