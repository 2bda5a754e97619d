"""VD-NasNet with the two-category task, whose pictures weigh as far as they lie from the threshold (section 3.3).

Command: python -m mtp.main --config=configs/rows/vd_two_tasks.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.vd_nasnet import get_config as vd_nasnet


def get_config(preset="ours"):
    c = vd_nasnet(preset)
    c.model.tasks = ("distribution", "two_category")
    return c
