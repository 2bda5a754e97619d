"""What the paper's Tables 1 to 3 print, and what others have published on AVA, each with its split and source."""

from typing import NamedTuple

from experiments.tables.printed_rows import PRINTED as TABLE_1

# Table 2: accuracy, in percent; of its protocol only delta = 1 is said
TABLE_2 = {
    "DMA-Net": 80.12, "DCNN": 88.01, "SANE": 96.71, "MNA-CNN": 95.76, "MT-NasNet": 96.84, "SF-NasNet": 96.95,
    "VD-NasNet": 96.79, "MTP-NasNet": 97.34,
}  # fmt: skip
# Table 3: Euc (the root of Eq. 5), Cheb, KL, Cos, EMD
TABLE_3 = {
    "NasNet-Crop": (0.137, 0.097, 0.131, 0.933, 0.089),
    "NasNet-Wrap": (0.134, 0.092, 0.125, 0.949, 0.087),
    "NasNet-Pad": (0.141, 0.101, 0.136, 0.930, 0.094),
    "MTP-NasNet": TABLE_1["MTP-NasNet"],
}
# the paper's names of the files of configs/rows/
NAMES = {
    "nasnet_crop": "NasNet-Crop", "nasnet_wrap": "NasNet-Wrap", "nasnet_pad": "NasNet-Pad", "mt_nasnet": "MT-NasNet",
    "sf_nasnet": "SF-NasNet", "vd_nasnet": "VD-NasNet", "mtp_nasnet": "MTP-NasNet", "sane": "SANE", "dcnn": "DCNN",
    "dma_net": "DMA-Net", "mna_cnn": "MNA-CNN",
}  # fmt: skip


class Published(NamedTuple):
    """On AVA's test pictures, rank and linear correlation of the means and accuracy in percent, delta 0."""

    method: str
    srcc: float | None
    plcc: float | None
    accuracy: float | None
    split: str
    source: str


PUBLISHED = (
    Published("NIMA, Inception-v2", 0.612, 0.636, 81.5, "random 80/20", "Talebi and Milanfar 2018"),
    Published("NIMA, VGG16", 0.592, 0.610, 80.6, "random 80/20", "Talebi and Milanfar 2018"),
    Published("NIMA, Inception-ResNet-v2", 0.7126, 0.7172, None, "official, 19,930", "pyiqa's test results"),
    Published("TOPIQ, ResNet-50", 0.7359, 0.737, None, "official, 19,930", "pyiqa's test results"),
    Published("TOPIQ, Swin", 0.791, 0.7902, None, "official, 19,930", "pyiqa's test results"),
    Published("LIQE", 0.776, 0.763, None, "official", "OneAlign's model card"),
    Published("VILA-R", 0.774, 0.774, None, "official", "OneAlign's model card"),
    Published("OneAlign", 0.823, 0.819, None, "official", "OneAlign's model card"),
    Published("Charm, ViT-small", 0.760, 0.762, 82.7, "not stated", "FBehrad/Charm, Figures/table1.jpg"),
    Published(
        "the same without Charm", 0.679, 0.687, 79.4, "not stated", "FBehrad/Charm, Figures/table1.jpg"
    ),
    Published("MNA-CNN", None, None, 76.10, "RAPID's 20,000", "AiArt-Gao/AesMamba, assets/VIAA.png"),
    Published("MUSIQ", 0.726, 0.738, 81.5, "official", "AiArt-Gao/AesMamba, assets/VIAA.png"),
)
