"""Optimiser: groups of parameters, each with its own rate and schedule."""

import math
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mtp.config import Config

GROUPS = ("trunk", "heads", "sigma")
Transforms = dict[Hashable, optax.GradientTransformation]
ALWAYS = -1  # freeze_steps of a backbone that never trains
HEADS_INPUTS = 1000  # of the layer whose rate optim.heads_rate is


def rates(config: Config, steps: int, steps_per_epoch: int) -> dict[str, optax.Schedule]:
    """Learning rate of each group against the step: linear warm-up, then cosine to zero or constant.

    Step t of w warm-up steps has rate peak (t + 1) / (w + 1); then cosine is
    peak (1 + cos(pi (t - w) / (steps - w))) / 2.  The trunk's is zero while it is frozen; `by_fan_in` shares out the
    heads'.
    """
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
    return lambda step: jnp.where(jnp.asarray(step) < freeze_steps, 0.0, schedule(step))


def _decayed(params: Any) -> Any:
    """Weight decay is for kernels: norms and biases have one axis, sigmas none."""
    return jax.tree.map(lambda p: len(p.shape) >= 2, params)


def build(
    config: Config, steps: int, steps_per_epoch: int, groups: Any, *, learn_sigma: bool
) -> optax.GradientTransformation:
    """Clipping of the global gradient norm, then Adam or AdamW for each group.

    groups: the group of every parameter, one of `GROUPS`, in the parameters' tree. What is frozen (the trunk up to
    optim.freeze_steps, sigma unless `learn_sigma`) does not move, does not count in the norm, and its moments start
    with its first step.
    Errors: ValueError on another group.
    """
    found = set(jax.tree.leaves(groups))
    unknown = found - set(GROUPS)
    if unknown:
        raise ValueError(
            f"a parameter's group must be one of {', '.join(GROUPS)}, not {', '.join(sorted(unknown))}"
        )
    starts = {"trunk": config.freeze_steps, "heads": 0, "sigma": 0 if learn_sigma else ALWAYS}
    frozen = {name: start for name, start in starts.items() if name in found}
    schedules = rates(config, steps, steps_per_epoch)
    gates: Transforms = {name: _from_step(optax.identity(), start) for name, start in frozen.items()}
    steps_of = {name: _adam(config, schedules[name], start) for name, start in frozen.items()}
    if "heads" in steps_of and config.heads_rate_by == "fan_in":
        steps_of["heads"] = optax.chain(steps_of["heads"], optax.stateless(_shared_by_fan_in))
    moves: Transforms = {name: _from_step(steps_of[name], start) for name, start in frozen.items()}
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(optax.partition(gates, groups), clip, optax.partition(moves, groups))


def _adam(config: Config, rate: optax.Schedule, start: int) -> optax.GradientTransformation:
    """Adam or AdamW whose first step is step `start` of the schedule."""

    def later(count: Any) -> Any:
        return rate(count + start)

    # moments are one vector: a program for hundreds of small arrays takes longer to compile, and to run
    steps = [optax.flatten(optax.scale_by_adam()), optax.scale_by_learning_rate(later)]
    if config.name == "adamw":
        steps.insert(1, optax.add_decayed_weights(config.weight_decay, mask=_decayed))
    return optax.chain(*steps)


def by_fan_in(params: Any) -> Any:
    """Each parameter's share of optim.heads_rate: 1,000 / n in a layer of n inputs, its bias included.

    Adam moves every weight by about its rate; a logit, the sum of n features times their weights, moves n times as far.
    """
    inputs: dict[Any, int] = {}
    for (*layer, _), array in jax.tree.leaves_with_path(params):
        inputs[tuple(layer)] = max(inputs.get(tuple(layer), 1), math.prod(array.shape[:-1]))
    return jax.tree.map_with_path(lambda path, _: HEADS_INPUTS / inputs[path[:-1]], params)


def _shared_by_fan_in(updates: Any, _: Any) -> Any:
    return jax.tree.map(lambda update, share: update * share, updates, by_fan_in(updates))


def _from_step(inner: optax.GradientTransformation, freeze_steps: int) -> optax.GradientTransformation:
    """`inner` from step `freeze_steps` on; no update, and no change of its state, before."""
    if freeze_steps == ALWAYS:
        return optax.set_to_zero()
    if freeze_steps == 0:
        return inner
    # gradients of zero would age Adam's bias correction: the first real steps would be 3 to 6 times too long
    return optax.conditionally_mask(inner, lambda step, **_: jnp.asarray(step) >= freeze_steps)
