"""DMA-Net (Lu et al. 2015): a bag of five squares at the picture's own scale, their statistics pooled.

Command: python -m mtp.main --config=configs/rows/dma_net.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.nasnet_crop import get_config as nasnet_crop


def get_config(preset="ours"):
    c = nasnet_crop(preset)
    c.model.name = "dma_net"
    return c
