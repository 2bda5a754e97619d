"""The demo: a tiny NASNet-A from scratch on generated pictures, to see the whole path work.

Command: python -m mtp.main --config=configs/demo.py --workdir=runs/demo
Synthetic pictures and votes; the numbers say nothing of photographs.
"""

from mtp.config import get_config as defaults


def get_config():
    c = defaults()
    c.data.name = "demo"

    # every picture at its own size: the focus of the small pictures does not survive a resize
    c.input.order = "native"
    c.input.canvases = 2  # a third would cost more seconds of compiling than it saves in padding
    c.input.sizes = ((80, 120), (120, 80), (80, 80))  # whose area eval.size=trained means
    c.input.batch_size = 16
    c.input.vertical_flip = True

    c.model.backbone = "tiny"
    c.model.fcn_hidden = 64

    # half of the pictures carry a style here, a twentieth in AVA: the share of the gradient is kept
    c.loss.style_factor = 0.02

    c.optim.trunk_rate = 6e-3
    c.optim.heads_rate = 1.25e-4
    c.optim.warmup_epochs = 0.25
    c.optim.ema_decay = 0.98

    c.train.epochs = 7.0
    c.train.eval_every_epochs = 4.0
    c.train.save_every_steps = 200
    # compiling takes 3 GB a program; on two cores the first one trains while the next is compiled
    c.train.compile_in_parallel = False

    c.eval.canvases = 1
    c.eval.batch_pixels = 500_000
    c.eval.also_size = "trained"
    return c
