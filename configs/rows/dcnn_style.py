"""DCNN with a style column (RDCNN, Lu et al. 2014), which the style labels alone train.

Command: python -m mtp.main --config=configs/rows/dcnn_style.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.dcnn import get_config as dcnn


def get_config(preset="ours"):
    c = dcnn(preset)
    c.model.tasks = ("distribution", "style")
    c.model.style_column = "frozen"
    return c
