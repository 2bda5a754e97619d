"""Your own photographs with votes, some hundred to some thousand: trunks that have seen ImageNet, and a fitted head.

Command: python -m mtp.main --config=configs/votes.py --config.data.dir=FOLDER --workdir=runs/mine
Three trunks side by side see each picture once, at its own size; mean and deviation of every channel at their last
levels are its features, which are kept. The tasks' last layers are fitted to them, to training and validation pictures
alike, as weakly regularised as held-out groups allow.
"""

from mtp.config import get_config as defaults


def get_config():
    c = defaults()
    c.data.name = "votes"

    c.model.backbone = ("lite0", "lite1", "lite2")
    c.model.weights = "imagenet"
    c.model.columns = ("levels",)
    c.model.levels = 3

    c.train.method = "features"

    # each canvas shape is a program of all trunks, which compiles for some seconds
    c.eval.canvases = 3
    return c
