"""Optimiser: groups of parameters, each with its own rate and schedule."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict

GROUPS = ("trunk", "heads", "sigma")
ALWAYS = -1  # freeze_steps of a backbone that never trains


def labels(params: Any) -> Any:
    """The group of every parameter: backbones are "trunk", heads "heads", log sigmas "sigma".

    Errors: ValueError on a top-level name of no group.
    """

    def group(path: tuple, _: Any) -> str:
        name = path[0].key
        if name.startswith("backbone"):
            return "trunk"
        if name == "heads":
            return "heads"
        if name == "log_sigma":
            return "sigma"
        raise ValueError(
            f"parameters must be named backbone*, heads or log_sigma; {name!r} belongs to no group"
        )

    return jax.tree_util.tree_map_with_path(group, params)


def rates(config: ConfigDict, steps: int, steps_per_epoch: int) -> dict[str, optax.Schedule]:
    """Learning rate of each group against the step: linear warm-up, then cosine to zero or constant."""
    if config.schedule not in ("cosine", "constant"):
        raise ValueError(f"optim.schedule must be 'cosine' or 'constant', not {config.schedule!r}")
    warmup = min(round(config.warmup_epochs * steps_per_epoch), max(steps - 1, 0))
    peaks = {"trunk": config.trunk_rate, "heads": config.heads_rate, "sigma": config.sigma_rate}
    schedules = {name: _schedule(peak, config.schedule, warmup, steps) for name, peak in peaks.items()}
    schedules["trunk"] = _after(schedules["trunk"], config.freeze_steps)
    return schedules


def _schedule(peak: float, kind: str, warmup: int, steps: int) -> optax.Schedule:
    if kind == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
    else:
        after = optax.constant_schedule(peak)
    # the first step moves already: the ramp starts one step up
    ramp = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([ramp, after], [warmup]) if warmup else after


def _after(schedule: optax.Schedule, freeze_steps: int) -> optax.Schedule:
    if freeze_steps == ALWAYS:
        return optax.constant_schedule(0.0)
    if freeze_steps == 0:
        return schedule
    return lambda step: jax.numpy.where(step < freeze_steps, 0.0, schedule(step))


def _decayed(params: Any) -> Any:
    """Weight decay is for kernels: norms and biases have one axis, sigmas none."""
    return jax.tree.map(lambda p: len(p.shape) >= 2, params)


def build(
    config: ConfigDict, steps: int, steps_per_epoch: int, params: Any, *, learn_sigma: bool
) -> optax.GradientTransformation:
    """Clipping of the global gradient norm, then Adam or AdamW for each group.

    Errors: ValueError on an unknown optim.name, or where a group has no parameters.
    """
    if config.name not in ("adam", "adamw"):
        raise ValueError(f"optim.name must be 'adam' or 'adamw', not {config.name!r}")
    groups = labels(params)
    found = set(jax.tree.leaves(groups))
    if found != set(GROUPS):
        raise ValueError(f"the groups {', '.join(GROUPS)} must each have parameters; found {sorted(found)}")

    def adam(rate: optax.Schedule) -> optax.GradientTransformation:
        if config.name == "adam":
            return optax.adam(rate)
        return optax.adamw(rate, weight_decay=config.weight_decay, mask=_decayed)

    transforms = {name: adam(rate) for name, rate in rates(config, steps, steps_per_epoch).items()}
    if not learn_sigma:
        transforms["sigma"] = optax.set_to_zero()
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(clip, optax.partition(transforms, groups))
