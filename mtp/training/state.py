"""The training state: all that influences later steps, and its two parts in a checkpoint."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import struct

Leaf: TypeAlias = Any  # an array, or its shape and type: a type checker would take a union for neither
SIGMA = "log_sigma"  # the loss's own parameters, beside the network's


class TrainState(struct.PyTreeNode):
    """All that influences later steps: arrays, or their shapes where nothing is computed.

    step: steps taken; skipped: those of them that changed nothing because something was not finite;
    bad_steps: such steps in a row; params, batch_stats: the network's; log_sigma: the loss's, by task;
    seen: batches that the running statistics have taken in, a batch with empty slots by its share of pictures;
    average: moving average of params and batch_stats, None where off.
    """

    step: Leaf
    skipped: Leaf
    bad_steps: Leaf
    params: Any
    batch_stats: Any
    seen: Leaf
    log_sigma: Any
    opt_state: Any
    average: Any

    @property
    def trainable(self) -> dict[str, Any]:
        """What gradients are taken to."""
        return {**self.params, SIGMA: self.log_sigma}

    def evaluation_variables(self) -> dict[str, Any]:
        """What predicts: the moving average where there is one, with its own statistics."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(What predicts, all else): the two items of a checkpoint, which `joined` puts together again."""
        others = {
            name: getattr(self, name)
            for name in ("step", "skipped", "bad_steps", "seen", "log_sigma", "opt_state")
        }
        if self.average:
            others |= {"params": self.params, "batch_stats": self.batch_stats}
        return self.evaluation_variables(), others

    @classmethod
    def joined(cls, model: Mapping[str, Any], training: Mapping[str, Any]) -> "TrainState":
        """The state of these two parts."""
        averaged = "params" in training
        return cls(**{**({} if averaged else model), **training}, average=dict(model) if averaged else None)


def initial_state(
    variables: Mapping[str, Any],
    log_sigma: Mapping[str, float],
    optimiser: optax.GradientTransformation,
    ema: bool,
) -> TrainState:
    """Step 0 from the network's initial (or loaded) variables."""
    params, batch_stats = dict(variables["params"]), variables["batch_stats"]
    sigmas = {task: jnp.float32(value) for task, value in log_sigma.items()}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        bad_steps=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        seen=jnp.zeros(()),
        log_sigma=sigmas,
        opt_state=optimiser.init({**params, SIGMA: sigmas}),
        # copies: the state is donated, and no buffer can be given away twice
        average=jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if ema else None,
    )
