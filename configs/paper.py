"""The paper's own set-up, literally (sections 3 and 4.5), on any folder of pictures with votes.

Command: python -m mtp.main --config=configs/paper.py --config.data.dir=FOLDER --workdir=runs/paper
Needs a GPU or TPU and the published ImageNet weights (downloaded once, 20 MB). Its rates are the printed ones, .01 for
the trunk and .001 for the heads with Adam, which is high for a pretrained trunk: the defaults are safer.
"""

from mtp.config import get_config as defaults


def get_config():
    c = defaults()

    # 4.5: the three sizes in turn, an epoch each; flips both ways; quarter turns
    c.input.order = "cycle"
    c.input.vertical_flip = True
    c.input.quarter_turns = True
    c.input.batch_size = 128

    # 3.2: global average pooling and a dense layer beside the pyramid; 4.5: initialised from ImageNet
    c.model.backbone = "mobile"
    c.model.weights = "imagenet"
    c.model.fcn_hidden = 0

    # 3.1 and 4.5
    c.optim.name = "adam"
    c.optim.trunk_rate = 0.01
    c.optim.heads_rate = 0.001
    c.optim.heads_rate_by = "one"
    c.optim.schedule = "constant"
    c.optim.warmup_epochs = 0.0
    c.optim.clip_norm = 0.0
    c.train.epochs = 70.0
    return c
