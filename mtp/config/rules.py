"""Options beside options: which values exclude one another, and which options have no effect beside others.

The first are errors, the second are said when such an option was asked for. Rules read `c.loss.emd_r` of all options,
and `c.known` of the names that other packages define.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Conflict(NamedTuple):
    """options: all that the rule reads; broken: whether it is; must: what must hold, with their values filled in."""

    options: tuple[str, ...]
    broken: Callable[[Any], bool]
    must: str


class Idle(NamedTuple):
    """options: those that have no effect where `when` holds; why: in a line."""

    options: tuple[str, ...]
    when: Callable[[Any], bool]
    why: str


def _lacks_a_transpose(c: Any) -> bool:
    # a canvas is odd: an even side's last line is never read
    canvases = {tuple(side - (side % 2 == 0) for side in size) for size in c.input.sizes}
    return {canvas[::-1] for canvas in canvases} != canvases


def _undividable(c: Any) -> bool:
    return c.input.batch_size % (c.optim.accumulate * max(1, c.run.devices)) != 0


def _outside_range(c: Any) -> bool:
    low, high = c.loss.log_sigma_range
    return c.loss.learn_sigma and any(not low <= value <= high for value in c.loss.log_sigma)


# networks whose inputs are squares, and the size rules of their evaluation
SQUARES = {"dcnn": ("warp", "crop", "pad"), "dma_net": ("crop",)}


def _has_other_rules(network: str, *rules: str) -> bool:
    return network in SQUARES and any(
        rule.partition("=")[0] not in SQUARES[network] for rule in rules if rule
    )


CONFLICTS = (
    Conflict(
        ("data.name", "data.dir"),
        lambda c: c.data.name == "votes" and not c.data.dir,
        "data.dir must name a folder of pictures with votes.csv, for instance --config.data.dir=photos",
    ),
    Conflict(
        ("data.name", "data.dir"),
        lambda c: c.data.name == "ava" and not c.data.dir,
        "data.dir must name the --data_dir that python -m mtp.data.ava built",
    ),
    Conflict(
        ("data.name", "data.split", "data.split_dir"),
        lambda c: c.data.name != "ava" and (c.data.split or c.data.split_dir),
        "data.split and data.split_dir are for data.name=ava; other folders name splits in their CSV",
    ),
    Conflict(
        ("data.name", "data.folds"),
        lambda c: c.data.name == "ava" and c.data.folds,
        "data.folds is for folders with a CSV; data.name=ava has named splits (data.split)",
    ),
    Conflict(
        ("data.folds",),
        lambda c: c.data.folds in (1, 2),
        "data.folds must be 0 (none) or at least 3, since one fold tests and one validates; it is {c.data.folds}",
    ),
    Conflict(
        ("data.folds", "data.fold"),
        lambda c: 0 < c.data.folds <= c.data.fold,
        "data.fold must be less than data.folds = {c.data.folds}; it is {c.data.fold}",
    ),
    Conflict(
        ("input.order", "input.quarter_turns"),
        lambda c: c.input.order == "native" and c.input.quarter_turns,
        "input.quarter_turns needs warped buckets; it cannot go with input.order=native",
    ),
    Conflict(
        ("input.order", "input.quarter_turns", "input.sizes"),
        lambda c: c.input.order != "native" and c.input.quarter_turns and _lacks_a_transpose(c),
        "input.quarter_turns needs each size's transpose among input.sizes; they are {c.input.sizes}",
    ),
    Conflict(
        ("input.batch_size", "optim.accumulate", "run.devices"),
        _undividable,
        "input.batch_size must divide by optim.accumulate = {c.optim.accumulate} times run.devices (where those are "
        "given); it is {c.input.batch_size}",
    ),
    Conflict(
        ("model.trunks", "model.columns"),
        lambda c: c.model.trunks not in (1, len(c.model.columns)),
        "model.trunks must be 1, or as many as the columns {c.model.columns}; it is {c.model.trunks}",
    ),
    Conflict(
        ("model.name", "input.order"),
        lambda c: c.model.name in SQUARES and c.input.order == "native",
        "model.name={c.model.name} looks at squares of input.sizes: input.order must be buckets or cycle, not native",
    ),
    Conflict(
        ("model.name", "input.sizes"),
        lambda c: c.model.name in SQUARES and any(height != width for height, width in c.input.sizes),
        "model.name={c.model.name} looks at squares: input.sizes must be squares, for instance ((224, 224),); they are "
        "{c.input.sizes}",
    ),
    Conflict(
        ("model.name", "input.fit"),
        lambda c: c.model.name == "dma_net" and c.input.fit != "crop",
        "model.name=dma_net cuts patches of pictures as they are: input.fit must be crop, not {c.input.fit}",
    ),
    Conflict(
        ("model.name", "eval.size", "eval.also_size"),
        lambda c: _has_other_rules(c.model.name, c.eval.size, c.eval.also_size),
        "model.name={c.model.name} looks at squares of side S: eval.size and eval.also_size must be crop=S, of dcnn "
        "also warp=S or pad=S; they are {c.eval.size!r} and {c.eval.also_size!r}",
    ),
    Conflict(
        ("model.name", "model.style_column", "model.tasks"),
        lambda c: (
            c.model.name == "dcnn"
            and c.model.style_column != "none"
            and ("style" not in c.model.tasks or len(c.model.tasks) == 1)
        ),
        "model.style_column={c.model.style_column} needs style and another task in model.tasks; they are "
        "{c.model.tasks}",
    ),
    Conflict(
        ("model.grids",),
        lambda c: len(set(c.model.grids)) < len(c.model.grids),
        "model.grids must have each number once; it is {c.model.grids}",
    ),
    Conflict(
        ("loss.log_sigma",),
        lambda c: len(c.loss.log_sigma) > len(c.known["model.tasks"]),
        "loss.log_sigma must have no more values than there are tasks ({c.known[model.tasks]}); it is "
        "{c.loss.log_sigma}",
    ),
    Conflict(
        ("loss.log_sigma_range",),
        lambda c: c.loss.log_sigma_range[0] >= c.loss.log_sigma_range[1],
        "loss.log_sigma_range must ascend; it is {c.loss.log_sigma_range}",
    ),
    Conflict(
        ("loss.learn_sigma", "loss.log_sigma", "loss.log_sigma_range"),
        _outside_range,
        "loss.log_sigma must begin within loss.log_sigma_range = {c.loss.log_sigma_range} where it is learned; it is "
        "{c.loss.log_sigma}",
    ),
)

# what is read only where gradients are followed
STEPS_ALONE = (
    "input.order", "input.fit", "input.size", "input.canvases", "input.batch_size", "input.horizontal_flip",
    "input.vertical_flip", "input.quarter_turns", "loss.task_weight", "loss.two_category_factor", "loss.style_factor",
    "loss.log_sigma", "loss.learn_sigma", "loss.log_sigma_range", "optim.name", "optim.trunk_rate", "optim.heads_rate",
    "optim.heads_rate_by", "optim.sigma_rate", "optim.schedule", "optim.warmup_epochs", "optim.weight_decay",
    "optim.clip_norm", "optim.accumulate", "optim.ema_decay", "optim.freeze_steps", "optim.max_bad_steps",
    "train.epochs", "train.eval_every_epochs", "train.save_every_steps", "train.compile_in_parallel",
)  # fmt: skip

IDLE = (
    Idle(
        ("data.demo_pictures", "data.demo_seed", "data.demo_integrity", "data.demo_styled"),
        lambda c: c.data.name != "demo",
        "data.name is not demo",
    ),
    Idle(
        ("data.csv", "data.group", "data.max_skipped"),
        lambda c: c.data.name == "ava",
        "a built AVA set has no CSV, and left out what it cannot read when it was built",
    ),
    Idle(("data.fold",), lambda c: not c.data.folds, "data.folds=0 makes none"),
    Idle(
        ("data.split_seed",),
        lambda c: not c.data.folds and c.data.split not in ("paper", "random"),
        "only folds and AVA's splits paper and random are drawn by it",
    ),
    Idle(("input.canvases", "input.size"), lambda c: c.input.order != "native", "input.order is not native"),
    Idle(
        ("input.fit",),
        lambda c: c.input.order == "native",
        "with input.order=native there is no bucket's size",
    ),
    Idle(
        ("input.sizes",),
        lambda c: (
            c.input.order == "native" and "trained" not in (c.eval.size, c.eval.also_size, c.input.size)
        ),
        "with input.order=native only the size rule trained reads it",
    ),
    Idle(
        (
            "model.columns",
            "model.levels",
            "model.trunks",
            "model.fcn_hidden",
            "model.fcn_average",
            "model.spp_bins",
            "model.spp_pool",
            "model.aspect",
            "model.heads",
        ),
        lambda c: c.model.name != "mtp_nasnet",
        "only model.name=mtp_nasnet has columns",
    ),
    Idle(("model.dropout",), lambda c: c.model.name != "nima", "only model.name=nima has dropout"),
    Idle(
        ("model.patches", "model.bags", "model.patch_pool"),
        lambda c: c.model.name != "dma_net",
        "only model.name=dma_net looks at bags of patches",
    ),
    Idle(
        ("model.share_columns", "model.style_column"),
        lambda c: c.model.name != "dcnn",
        "only model.name=dcnn has a global and a local column",
    ),
    Idle(
        ("model.grids", "model.combine", "model.scenes"),
        lambda c: c.model.name != "mna_cnn",
        "only model.name=mna_cnn pools on grids",
    ),
    Idle(("model.scenes",), lambda c: c.model.combine != "scene", "model.combine is not scene"),
    Idle(
        ("model.dense_hidden",),
        lambda c: c.model.name not in ("dma_net", "dcnn", "mna_cnn"),
        "only dma_net, dcnn and mna_cnn have a hidden dense layer",
    ),
    Idle(
        ("model.fcn_hidden", "model.fcn_average"), lambda c: "fcn" not in c.model.columns, "no column is fcn"
    ),
    Idle(("model.spp_bins", "model.spp_pool"), lambda c: "spp" not in c.model.columns, "no column is spp"),
    Idle(("model.levels",), lambda c: "levels" not in c.model.columns, "no column is levels"),
    Idle(
        ("model.heads",),
        lambda c: c.model.heads == "cascade" and len(c.model.tasks) == 1,
        "a single task feeds no other",
    ),
    Idle(
        ("model.bn_momentum",), lambda c: c.model.weights, "with loaded weights bn_momentum_pretrained holds"
    ),
    Idle(("model.bn_momentum_pretrained",), lambda c: not c.model.weights, "no weights are loaded"),
    Idle(
        ("loss.target", "loss.smoothing", "loss.emd_r", "loss.emd_squared"),
        lambda c: "distribution" not in c.model.tasks,
        "the task distribution is not trained",
    ),
    Idle(
        ("loss.two_category_factor", "loss.tau"),
        lambda c: "two_category" not in c.model.tasks,
        "the task two_category is not trained",
    ),
    Idle(("loss.style_factor",), lambda c: "style" not in c.model.tasks, "the task style is not trained"),
    Idle(
        ("loss.reliability",),
        lambda c: not {"distribution", "two_category"} & set(c.model.tasks),
        "it weighs the tasks distribution and two_category only",
    ),
    Idle(
        ("loss.emd_r", "loss.emd_squared"),
        lambda c: c.loss.target == "mean",
        "with loss.target=mean the loss is the distance of the means",
    ),
    Idle(
        ("loss.emd_squared",),
        lambda c: c.loss.emd_squared and c.loss.emd_r == 1,
        "with loss.emd_r=1 there is neither square nor root",
    ),
    Idle(
        ("loss.tau",),
        lambda c: c.loss.reliability in ("votes", "none"),
        "only the reliability variance and its permutation read it",
    ),
    Idle(
        (
            "loss.two_category_factor",
            "loss.style_factor",
            "loss.log_sigma",
            "loss.learn_sigma",
            "loss.log_sigma_range",
            "optim.sigma_rate",
        ),
        lambda c: c.loss.task_weight == "sum",
        "loss.task_weight=sum adds the losses as they are",
    ),
    Idle(
        ("loss.log_sigma_range", "optim.sigma_rate"),
        lambda c: not c.loss.learn_sigma,
        "log sigma is fixed (loss.learn_sigma)",
    ),
    Idle(("optim.weight_decay",), lambda c: c.optim.name == "adam", "optim.name=adam decays nothing"),
    Idle(("optim.trunk_rate",), lambda c: c.optim.freeze_steps == -1, "the backbone is always frozen"),
    Idle(
        STEPS_ALONE,
        lambda c: c.train.method == "features",
        "train.method=features takes no steps and draws no batches",
    ),
    Idle(("eval.also_size",), lambda c: c.eval.also_size == c.eval.size, "it is eval.size itself"),
)
