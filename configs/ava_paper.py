"""The paper's set-up on AVA, literally: `configs/paper.py` on the paper's kind of split.

Build once:  python -m mtp.data.ava --source=DOWNLOAD --data_dir=DIR
Command:     python -m mtp.main --config=configs/ava_paper.py --config.data.dir=DIR --workdir=runs/ava-paper
A GPU or TPU is meant. `configs/ava.py` is safer: the printed rates are high for a pretrained trunk.
"""

from configs.paper import get_config as paper


def get_config():
    c = paper()
    c.data.name = "ava"
    # 4.1: 200,000 pictures for training, 25,000 each for validation and test, drawn at random; no seed is given
    c.data.split = "paper"

    c.eval.by = "category"
    return c
