"""What is minimised: the tasks' losses of a batch in one number."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.config import Config
from mtp.tasks import TASKS, LossOptions, losses
from mtp.training import weighting

Batch = Mapping[str, Mapping[str, Array]]  # of `mtp.data.batches.pipeline`


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised: Eq. 1 over the tasks, each averaged over its nominal share of a batch.

    denominators: nominal global batch size x labelled share of the training split, a task each.
    """

    config: Config
    denominators: Mapping[str, float]
    style_kind: str

    def __call__(
        self, logits: Mapping[str, Array], log_sigma: Mapping[str, Array], batch: Batch
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss of a batch and the tasks' own losses."""
        c, task_losses, shares = self.config, {}, {}
        options = LossOptions(c.target, c.emd_r, c.emd_squared, self.style_kind)
        for task in logits:
            weights = batch["weights"][task]
            values = TASKS[task].loss(batch["labels"][task], logits[task], options)
            task_losses[task] = losses.weighted_sum(values, weights, self.denominators[task])
            shares[task] = jnp.sum(weights > 0) / self.denominators[task]
        factors = {task: c[TASKS[task].factor] if TASKS[task].factor else 1.0 for task in logits}
        total = weighting.total(task_losses, log_sigma, factors, shares, c.task_weight)
        return total, task_losses
