"""SF-fcn: of SF-NasNet's two columns the fully convolutional one alone.

Command: python -m mtp.main --config=configs/rows/sf_fcn.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.gap_native import get_config as gap_native


def get_config(preset="ours"):
    c = gap_native(preset)
    c.model.columns = ("fcn",)
    return c
