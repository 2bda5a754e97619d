"""The pure training step: gradients of a batch, and the state after them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from mtp.config import Config
from mtp.models.layers import BatchStatistics
from mtp.models.model import Model
from mtp.native import accelerated
from mtp.training import weighting
from mtp.training.objective import Batch, Objective
from mtp.training.state import SIGMA, TrainState

Metrics = dict[str, Array]


class Gradients(NamedTuple):
    """Of a batch: the loss's gradient to each parameter, the losses, and batch statistics and `seen` after it."""

    params: Any
    batch_stats: Any
    seen: Array
    metrics: Metrics


@dataclasses.dataclass(frozen=True, eq=False)
class TrainStep:
    """(state, batch) -> (state, metrics), pure; options: `optim`, and batch norm's momentum from `model`.

    Its two halves can be programs of their own: `gradients` depends on the batch's shape, `update` does not.
    pretrained: the trunk began from loaded weights, so its running statistics are worth keeping.
    native: the network runs on the kernels of `mtp.native`.
    """

    model: Model
    objective: Objective
    optimiser: optax.GradientTransformation
    config: Config
    pretrained: bool
    native: bool = False

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return self.update(state, self.gradients(state, batch))

    def update(self, state: TrainState, gradients: Gradients) -> tuple[TrainState, Metrics]:
        """The state after the batch, and its metrics; where something is not finite, only the counters change."""
        found = self._of_trained_groups(gradients.params, self._frozen(state))
        norm = optax.tree.norm(found)
        finite = jnp.isfinite(gradients.metrics["loss"]) & jnp.isfinite(norm)
        updates, opt_state = self.optimiser.update(found, state.opt_state, state.trainable)
        params: Any = optax.apply_updates(state.trainable, updates)
        log_sigma = self._projected(params.pop(SIGMA))
        average = self._averaged(state, params, gradients.batch_stats)
        moved = (params, gradients.batch_stats, gradients.seen, log_sigma, opt_state, average)
        kept = (state.params, state.batch_stats, state.seen, state.log_sigma, state.opt_state, state.average)
        params, batch_stats, seen, log_sigma, opt_state, average = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), moved, kept
        )
        bad = jnp.logical_not(finite).astype(jnp.int32)
        state = state.replace(
            step=state.step + 1,
            skipped=state.skipped + bad,
            bad_steps=(state.bad_steps + 1) * bad,
            params=params,
            batch_stats=batch_stats,
            seen=seen,
            log_sigma=log_sigma,
            opt_state=opt_state,
            average=average,
        )
        sigmas = {f"log_sigma_{task}": value for task, value in log_sigma.items()}
        counts = {"bad_steps": state.bad_steps, "skipped_steps": state.skipped}
        return state, gradients.metrics | sigmas | counts | {"gradient_norm": norm}

    def gradients(self, state: TrainState, batch: Batch) -> Gradients:
        """Sums over the micro-batches; the denominators are constants, so sums need no mean."""
        n, frozen = self.config.optim.accumulate, self._frozen(state)

        def add(sums: Gradients, micro: Batch) -> tuple[Gradients, None]:
            share = jnp.mean(micro["slots"]["filled"])
            statistics = BatchStatistics(self._momentum(sums.seen, share), frozen)
            loss_of = accelerated(self._loss) if self.native else self._loss
            of_loss = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (batch_stats, tasks)), found = of_loss(
                state.trainable, sums.batch_stats, micro, statistics
            )
            metrics = {"loss": loss} | {f"loss_{task}": value for task, value in tasks.items()}
            seen = sums.seen + jnp.where(frozen, 0.0, share)
            sums = Gradients(_plus(sums.params, found), batch_stats, seen, _plus(sums.metrics, metrics))
            return sums, None

        start = self.no_gradients(state)
        with jax.default_matmul_precision(self.config.model.precision):
            if n == 1:
                return add(start, batch)[0]
            return jax.lax.scan(add, start, micro_batches(batch, n))[0]

    def no_gradients(self, state: TrainState) -> Gradients:
        """Of a batch without a picture: zeros, and the batch statistics as they are."""
        names = ("loss", *(f"loss_{task}" for task in self.model.outputs))
        zeros = jax.tree.map(jnp.zeros_like, state.trainable)
        return Gradients(zeros, state.batch_stats, state.seen, dict.fromkeys(names, jnp.zeros(())))

    def _frozen(self, state: TrainState) -> Array:
        """Whether the trunk does not train in this step; as in the optimiser a skipped step does not count."""
        freeze_steps = self.config.optim.freeze_steps
        return jnp.asarray(freeze_steps < 0) | (state.step - state.skipped < freeze_steps)

    def _loss(
        self, trainable: Any, batch_stats: Any, batch: Batch, statistics: BatchStatistics
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        params = {name: value for name, value in trainable.items() if name != SIGMA}
        variables = {"params": params, "batch_stats": batch_stats}
        logits, batch_stats = self.model.logits(variables, batch["inputs"], statistics)
        total, tasks = self.objective(logits, trainable[SIGMA], batch)
        return total, (batch_stats, tasks)

    def _of_trained_groups(self, gradients: Any, frozen: Array) -> Any:
        """Zero for the trunk while it is frozen."""
        groups = self.model.groups
        return {
            name: jax.tree.map(lambda g: jnp.where(frozen, 0, g), tree)
            if groups.get(name) == "trunk"
            else tree
            for name, tree in gradients.items()
        }

    def _momentum(self, seen: Array, share: Array) -> Array:
        """Weight of the old running statistics: m^s where a share s of the batch's slots holds pictures.

        From scratch m^s (1 - m^t) / (1 - m^(t+s)) after t full batches: the running average then weighs its start by
        nothing.
        """
        if self.pretrained:
            return self.config.model.bn_momentum_pretrained**share
        m = self.config.model.bn_momentum
        return jnp.where(share > 0, m**share * (1 - m**seen) / (1 - m ** (seen + share)), 1.0)

    def _projected(self, log_sigma: Any) -> Any:
        low, high = self.config.loss.log_sigma_range
        return weighting.project(log_sigma, low, high) if self.config.loss.learn_sigma else log_sigma

    def _averaged(self, state: TrainState, params: Any, batch_stats: Any) -> Any:
        """Moving average of weights and statistics; early on with a shorter memory."""
        if state.average is None:
            return None
        t = (state.step - state.skipped).astype(jnp.float32)
        decay = jnp.minimum(self.config.optim.ema_decay, (1 + t) / (10 + t))
        return optax.incremental_update(
            {"params": params, "batch_stats": batch_stats}, state.average, 1 - decay
        )


def micro_batches(batch: Batch, n: int) -> Any:
    """Arrays (n, B / n, ...): part i holds the slots i, i + n, ...

    Every device then keeps a share of each part: of parts that follow one another it would hold some whole ones and
    none of the others.
    """
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // n, n, *x.shape[1:]).swapaxes(0, 1), dict(batch))


def _plus(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)
