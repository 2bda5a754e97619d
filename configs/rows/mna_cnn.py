"""MNA-CNN (Mai et al. 2016): pictures of any size, pooled on grids of several sizes, a network each.

Command: python -m mtp.main --config=configs/rows/mna_cnn.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.gap_native import get_config as gap_native


def get_config(preset="ours"):
    c = gap_native(preset)
    c.model.name = "mna_cnn"
    c.model.dense_hidden = 512
    return c
