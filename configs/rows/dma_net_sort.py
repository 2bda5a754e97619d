"""DMA-Net with the sorting layer in place of the statistics.

Command: python -m mtp.main --config=configs/rows/dma_net_sort.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.dma_net import get_config as dma_net


def get_config(preset="ours"):
    c = dma_net(preset)
    c.model.patch_pool = "sort"
    return c
