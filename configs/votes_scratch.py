"""Your own photographs with votes: a small backbone from scratch, by gradients on batches.

Command: python -m mtp.main --config=configs/votes_scratch.py --config.data.dir=FOLDER --workdir=runs/mine
Without published weights a few hundred photographs teach next to nothing: `configs/votes.py` learns from them.
"""

from mtp.config import get_config as defaults


def get_config():
    c = defaults()
    c.data.name = "votes"

    c.input.sizes = ((112, 168), (168, 112), (128, 128))
    c.input.batch_size = 16

    c.model.backbone = "tiny"
    c.model.fcn_hidden = 64

    # so few pictures are fitted too well: a network that learns them as they are is too sure of new ones
    c.loss.smoothing = 0.35

    c.optim.trunk_rate = 1e-3
    c.optim.heads_rate = 2.25e-4
    c.optim.ema_decay = 0.99

    c.train.epochs = 15.0
    c.train.eval_every_epochs = 3.0

    # objects keep the size that they had in training
    c.eval.size = "trained"
    return c
