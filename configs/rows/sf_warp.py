"""SF@warp: the two columns on warped squares: what they give without the sizes.

Command: python -m mtp.main --config=configs/rows/sf_warp.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.nasnet_wrap import get_config as nasnet_wrap


def get_config(preset="ours"):
    c = nasnet_wrap(preset)
    c.model.columns = presets.read(preset).columns
    return c
