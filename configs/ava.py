"""AVA with our defaults: NASNet-A Mobile from the published ImageNet weights, the official split.

Build once:  python -m mtp.data.ava --source=DOWNLOAD --data_dir=DIR
Command:     python -m mtp.main --config=configs/ava.py --config.data.dir=DIR --workdir=runs/ava
A GPU or TPU is meant. The table has a row for each of AVA's eight content categories beside the whole test split.
"""

from mtp.config import get_config as defaults


def get_config():
    c = defaults()
    c.data.name = "ava"
    c.data.split = "official"

    c.model.backbone = "mobile"
    c.model.weights = "imagenet"

    c.eval.by = "category"
    return c
