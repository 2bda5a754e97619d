"""SF-NasNet (section 3.2): two columns, fully convolutional and spatial pyramid, on pictures of any size.

Command: python -m mtp.main --config=configs/rows/sf_nasnet.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows import presets
from configs.rows.gap_native import get_config as gap_native


def get_config(preset="ours"):
    c = gap_native(preset)
    c.model.columns = presets.read(preset).columns
    return c
