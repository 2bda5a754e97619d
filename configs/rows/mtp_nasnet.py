"""MTP-NasNet (section 4): two columns on pictures of any size, three tasks, weighted training pictures.

Command: python -m mtp.main --config=configs/rows/mtp_nasnet.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.sf_nasnet import get_config as sf_nasnet


def get_config(preset="ours"):
    c = sf_nasnet(preset)
    c.model.tasks = ("distribution", "two_category", "style")
    c.loss.reliability = "variance"
    return c
