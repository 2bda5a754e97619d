"""The training state and the pure steps on it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from mtp.config import Config
from mtp.models.layers import BatchStatistics
from mtp.models.mtp_nasnet import MTPNasNet, probabilities
from mtp.native import accelerated
from mtp.training import losses, weighting

Batch = Mapping[str, Array]
Metrics = dict[str, Array]


class TrainState(struct.PyTreeNode):
    """All that influences later steps.

    step: steps taken; skipped: those of them that changed nothing because something was not finite;
    bad_steps: such steps in a row; average: moving average of params and batch_stats, None where off.
    """

    step: Array
    skipped: Array
    bad_steps: Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any

    def evaluation_variables(self) -> dict[str, Any]:
        """What evaluation uses: the moving average where there is one, with its own statistics."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}


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
        for task in logits:
            weights = batch[f"{task}_weight"]
            values = self._per_picture(task, logits[task], batch[task])
            task_losses[task] = losses.weighted_sum(values, weights, self.denominators[task])
            shares[task] = jnp.sum(weights > 0) / self.denominators[task]
        factors = {"two_category": c.two_category_factor, "style": c.style_factor}
        total = weighting.total(
            task_losses, log_sigma, {t: factors.get(t, 1.0) for t in logits}, shares, c.task_weight
        )
        return total, task_losses

    def _per_picture(self, task: str, logits: Array, labels: Array) -> Float[Array, " B"]:
        match task:
            case "distribution" if self.config.target == "mean":
                return losses.mean_rating(labels, logits)
            case "distribution":
                return losses.emd(labels, logits, r=self.config.emd_r, squared=self.config.emd_squared)
            case "two_category":
                return losses.two_category(labels, logits)
            case _:
                style = losses.style if self.style_kind == "softmax" else losses.style_bce
                return style(labels, logits)


class Gradients(NamedTuple):
    """What a batch says of a state: the loss's gradient to each parameter, the statistics after it, its losses."""

    params: Any
    batch_stats: Any
    metrics: Metrics


@dataclasses.dataclass(frozen=True, eq=False)
class TrainStep:
    """(state, batch) -> (state, metrics), pure; options: `optim`, and batch norm's momentum from `model`.

    Its two halves can be programs of their own: `gradients` depends on the batch's shape, `update` does not.
    pretrained: the trunk began from loaded weights, so its running statistics are worth keeping.
    native: the model runs on the kernels of `mtp.native`.
    """

    model: MTPNasNet
    objective: Objective
    optimiser: optax.GradientTransformation
    config: Config
    pretrained: bool
    native: bool = False

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return self.update(state, self.gradients(state, batch))

    def update(self, state: TrainState, gradients: Gradients) -> tuple[TrainState, Metrics]:
        """The state after the batch, and its metrics; where something is not finite, only the counters change."""
        slopes = _freeze_trunk(gradients.params, self._frozen(state))
        norm = optax.tree.norm(slopes)
        finite = jnp.isfinite(gradients.metrics["loss"]) & jnp.isfinite(norm)
        updates, opt_state = self.optimiser.update(slopes, state.opt_state, state.params)
        params = self._projected(optax.apply_updates(state.params, updates))
        average = self._averaged(state, params, gradients.batch_stats)
        moved = (params, gradients.batch_stats, opt_state, average)
        kept = (state.params, state.batch_stats, state.opt_state, state.average)
        params, batch_stats, opt_state, average = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), moved, kept
        )
        bad = jnp.logical_not(finite).astype(jnp.int32)
        state = state.replace(
            step=state.step + 1,
            skipped=state.skipped + bad,
            bad_steps=(state.bad_steps + 1) * bad,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            average=average,
        )
        sigmas = {f"log_sigma_{task}": value for task, value in params["log_sigma"].items()}
        counts = {"bad_steps": state.bad_steps, "skipped_steps": state.skipped}
        return state, gradients.metrics | sigmas | counts | {"gradient_norm": norm}

    def gradients(self, state: TrainState, batch: Batch) -> Gradients:
        """Sums over the micro-batches; the denominators are constants, so sums need no mean."""
        n, frozen = self.config.optim.accumulate, self._frozen(state)
        taken = (state.step - state.skipped) * n

        def add(sums: Gradients, part: tuple[Array, Batch]) -> tuple[Gradients, None]:
            index, micro = part
            statistics = BatchStatistics(self._momentum(taken + index), frozen)
            loss_of = accelerated(self._loss) if self.native else self._loss
            slope = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (batch_stats, tasks)), slopes = slope(state.params, sums.batch_stats, micro, statistics)
            metrics = {"loss": loss} | {f"loss_{task}": value for task, value in tasks.items()}
            return Gradients(_plus(sums.params, slopes), batch_stats, _plus(sums.metrics, metrics)), None

        start = self.no_gradients(state)
        if n == 1:
            return add(start, (jnp.zeros((), jnp.int32), batch))[0]
        micro = jax.tree.map(lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), dict(batch))
        return jax.lax.scan(add, start, (jnp.arange(n), micro))[0]

    def no_gradients(self, state: TrainState) -> Gradients:
        """What no picture at all would say."""
        names = ("loss", *(f"loss_{task}" for task in self.model.outputs))
        zeros = jax.tree.map(jnp.zeros_like, state.params)
        return Gradients(zeros, state.batch_stats, dict.fromkeys(names, jnp.zeros(())))

    def _frozen(self, state: TrainState) -> Array:
        """Whether the trunk does not train in this step."""
        freeze_steps = self.config.optim.freeze_steps
        return jnp.asarray(freeze_steps < 0) | (state.step < freeze_steps)

    def _loss(
        self, params: Any, batch_stats: Any, batch: Batch, statistics: BatchStatistics
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        weights = {name: value for name, value in params.items() if name != "log_sigma"}
        logits, changed = self.model.apply(
            {"params": weights, "batch_stats": batch_stats},
            batch["images"],
            batch["sizes"],
            statistics,
            mutable=["batch_stats"],
        )
        total, tasks = self.objective(logits, params["log_sigma"], batch)
        return total, (changed["batch_stats"], tasks)

    def _momentum(self, updates: Array) -> Array | float:
        """From scratch m (1 - m^t) / (1 - m^(t+1)): the running average then weighs its start by nothing."""
        if self.pretrained:
            return self.config.model.bn_momentum_pretrained
        m, t = self.config.model.bn_momentum, updates.astype(jnp.float32)
        return m * (1 - m**t) / (1 - m ** (t + 1))

    def _projected(self, params: Any) -> Any:
        low, high = self.config.loss.log_sigma_range
        if not self.config.loss.learn_sigma:
            return params
        return {**params, "log_sigma": weighting.project(params["log_sigma"], low, high)}

    def _averaged(self, state: TrainState, params: Any, batch_stats: Any) -> Any:
        """Moving average of weights and statistics; early on with a shorter memory."""
        if state.average is None:
            return None
        t = (state.step - state.skipped).astype(jnp.float32)
        decay = jnp.minimum(self.config.optim.ema_decay, (1 + t) / (10 + t))
        return optax.incremental_update(
            {"params": params, "batch_stats": batch_stats}, state.average, 1 - decay
        )


def _plus(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)


def _freeze_trunk(gradients: Any, frozen: Array) -> Any:
    return {
        name: jax.tree.map(lambda g: jnp.where(frozen, 0, g), tree) if name.startswith("backbone") else tree
        for name, tree in gradients.items()
    }


def initial_state(
    variables: Mapping[str, Any],
    log_sigma: Mapping[str, float],
    optimiser: optax.GradientTransformation,
    ema: bool,
) -> TrainState:
    """Step 0 from the model's initial (or loaded) variables."""
    params = {**variables["params"], "log_sigma": {t: jnp.float32(s) for t, s in log_sigma.items()}}
    batch_stats = variables["batch_stats"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        bad_steps=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimiser.init(params),
        # copies: the state is donated, and no buffer can be given away twice
        average=jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if ema else None,
    )


def eval_step(
    model: MTPNasNet, style_kind: str, variables: Any, images: Array, sizes: Array
) -> dict[str, Array]:
    """Probabilities of a canvas batch under running statistics."""
    params = {name: value for name, value in variables["params"].items() if name != "log_sigma"}
    logits: Any = model.apply({"params": params, "batch_stats": variables["batch_stats"]}, images, sizes)
    return probabilities(logits, style_kind)
