"""warp + aspect ratio as a number: NasNet-Wrap that is told what the warp took away.

Command: python -m mtp.main --config=configs/rows/warp_aspect.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.nasnet_wrap import get_config as nasnet_wrap


def get_config(preset="ours"):
    c = nasnet_wrap(preset)
    c.model.aspect = True
    return c
