"""The set-ups in which every row of Tables 1 to 3 changes what its name says.

A preset is a network of one global-average column that learns the distribution alone, on pictures whose size and aspect
ratio are kept, under one of these set-ups:

paper       the paper's own rates, batches and augmentation (configs/paper.py)
ours        our defaults, NASNet-A Mobile from ImageNet weights (configs/ava.py)
demo        a tiny trunk from scratch on the generated pictures (configs/demo.py)
frozen      lite0 as ImageNet left it, last layers fitted to its features (configs/votes.py)
fine_tuned  lite0 from ImageNet weights, all of it trained, on some hundred photographs

Behind a row's file and a colon stands the preset, and a comma before the side of Table 3's squares where it is another:
--config=configs/rows/nasnet_wrap.py:frozen,side=128. Without one it is `ours`.
"""

from collections.abc import Callable
from typing import NamedTuple

from configs.ava import get_config as ava
from configs.demo import get_config as demo
from configs.paper import get_config as paper
from configs.votes import get_config as votes
from configs.votes_scratch import get_config as votes_scratch
from mtp.config import Config, ConfigError

SIDE = "side="


class Preset(NamedTuple):
    """A set-up. side: of Table 3's squares, pixels; columns: the two of the size-preserving network."""

    config: Callable[[], Config]
    side: int = 224
    columns: tuple[str, ...] = ("fcn", "spp")


def _ours() -> Config:
    c = ava()
    # whatever the data are
    c.data.name, c.data.split, c.eval.by = "votes", "", ""
    return c


def _frozen() -> Config:
    c = votes()
    c.model.backbone = "lite0"
    c.model.dense_hidden = 0  # of the baselines: what is fitted is linear
    return c


def _fine_tuned() -> Config:
    c = votes_scratch()
    c.model.backbone = "lite0"
    c.model.weights = "imagenet"

    # every picture on a canvas at its own size, in training as in evaluation
    c.input.order = "native"
    c.input.canvases = c.eval.canvases = 2
    c.eval.size = "native"

    # by the validation split of one fold of OASIS (experiments/results/fine_tuning.md): later steps make it worse
    c.optim.trunk_rate = 3e-5
    c.optim.heads_rate = 3e-3
    c.loss.smoothing = 0.0
    c.train.epochs = 3.0
    c.train.eval_every_epochs = 1.0
    return c


PRESETS = {
    "paper": Preset(paper),
    "ours": Preset(_ours),
    "demo": Preset(demo, side=96),
    # a column fcn without a hidden layer is gap, and what is fitted has none
    "frozen": Preset(_frozen, columns=("gap", "spp")),
    "fine_tuned": Preset(_fine_tuned),
}


def read(text: str) -> Preset:
    """The preset that NAME or NAME,side=S stands for. Errors: ConfigError on any other text."""
    name, _, rest = text.partition(",")
    side = rest.removeprefix(SIDE)
    if name not in PRESETS or (rest and not (rest.startswith(SIDE) and side.isdigit() and int(side) >= 32)):
        raise ConfigError(
            f"a row's preset must be {', '.join(PRESETS)}, alone or with ,side=S of at least 32; it is {text!r}"
        )
    preset = PRESETS[name]
    return preset._replace(side=int(side)) if rest else preset


def single_column(text: str) -> Config:
    """The network of a preset that every row begins with."""
    c = read(text).config()
    c.model.columns = ("gap",)
    c.model.tasks = ("distribution",)
    c.loss.reliability = "none"
    return c


def squares(c: Config, text: str, fit: str) -> None:
    """Every picture made a square as `fit` says: warp, crop or pad; in training and in evaluation."""
    side = read(text).side
    c.input.order = "buckets"
    c.input.sizes = ((side, side),)
    c.input.fit = fit
    c.eval.size = f"{fit}={side}"
    c.eval.also_size = ""


def own_sizes(c: Config, rule: str) -> None:
    """Each picture at a size of its own, which `rule` says, in training and in evaluation."""
    c.input.order = "native"
    c.input.quarter_turns = False  # only buckets can be turned
    c.input.size = c.eval.size = rule
    c.eval.also_size = ""
