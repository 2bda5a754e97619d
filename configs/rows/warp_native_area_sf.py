"""warp@native-area with SF-NasNet's two columns.

Command: python -m mtp.main --config=configs/rows/warp_native_area_sf.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.warp_native_area import get_config as warp_native_area


def get_config(preset="ours"):
    c = warp_native_area(preset)
    c.model.columns = presets.read(preset).columns
    return c
