"""The training step: pure, exact under accumulation, unmoved by what is not finite."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtp.config import get_config
from mtp.models.layers import BatchNorm, BatchStatistics, Pointwise
from mtp.models.model import Model
from mtp.ops.canvas import to_float
from mtp.ops.pyramid import global_average
from mtp.training.experiment import build_optimiser
from mtp.training.objective import Objective
from mtp.training.state import TrainState, initial_state
from mtp.training.step import TrainStep

TASKS = {"distribution": 5, "two_category": 2, "style": 3}
DENOMINATORS = {"distribution": 8.0, "two_category": 8.0, "style": 4.0}


class Trunk(nn.Module):
    @nn.compact
    def __call__(self, x, sizes, statistics):
        return jax.nn.relu(BatchNorm(6, name="bn")(Pointwise(6, name="conv")(x), sizes, statistics))


class Heads(nn.Module):
    tasks: tuple[str, ...]

    @nn.compact
    def __call__(self, x):
        return {task: nn.Dense(TASKS[task], name=task)(x) for task in self.tasks}


class Small(nn.Module):
    """One masked batch norm between a trunk and heads, which compiles in a moment."""

    tasks: tuple[str, ...] = tuple(TASKS)

    @nn.compact
    def __call__(self, inputs, statistics=None):
        sizes = inputs["sizes"]
        x = Trunk(name="backbone")(to_float(inputs["images"], sizes), sizes, statistics)
        return Heads(self.tasks, name="heads")(global_average(x, sizes))


def example():
    return {"images": jnp.zeros((1, 9, 9, 3), jnp.uint8), "sizes": jnp.full((1, 2), 9)}


SMALL = Model(Small(), TASKS, example, groups={"backbone": "trunk", "heads": "heads"})


def configured(**options):
    config = get_config()
    config.input.batch_size = 8
    config.optim.warmup_epochs = 0.0
    for name, value in options.items():
        section, option = name.split("__")
        config[section][option] = value
    return config


def batch(seed=0, slots=8):
    rng = np.random.default_rng(seed)
    inputs = {
        "images": rng.integers(0, 256, (slots, 9, 9, 3), dtype=np.uint8),
        "sizes": np.full((slots, 2), 9, np.int32),
    }
    labels, weights = {}, {}
    labels["distribution"] = rng.dirichlet(np.ones(5), slots).astype(np.float32)
    weights["distribution"] = rng.uniform(0.5, 1.5, slots).astype(np.float32)
    labels["two_category"] = rng.integers(0, 2, slots).astype(np.float32)
    weights["two_category"] = np.ones(slots, np.float32)
    labels["style"] = np.eye(3, dtype=np.float32)[rng.integers(0, 3, slots)]
    weights["style"] = (np.arange(slots) % 2).astype(np.float32)
    filled = {"filled": np.ones(slots, np.float32)}
    return {"inputs": inputs, "slots": filled, "labels": labels, "weights": weights}


def without_styles(whole):
    return {**whole, "weights": {**whole["weights"], "style": np.zeros(8, np.float32)}}


def built(pretrained=False, **options):
    """(step, state) on the small model."""
    config, model = configured(**options), SMALL
    sigmas = {"distribution": 0.5, "two_category": 0.9, "style": 0.6}
    optimiser = build_optimiser(config, model, 100, 10)
    objective = Objective(config.loss, DENOMINATORS, "softmax")
    step = jax.jit(TrainStep(model, objective, optimiser, config, pretrained))
    return step, initial_state(model.init(0), sigmas, optimiser, ema=config.optim.ema_decay > 0)


def assert_trees_close(a, b, **tolerance):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def test_accumulated_micro_batches_are_the_whole_batch_under_frozen_statistics():
    whole, state = built(optim__freeze_steps=-1)
    parts, _ = built(optim__freeze_steps=-1, optim__accumulate=4)
    (one, metrics), (four, same) = whole(state, batch()), parts(state, batch())
    assert_trees_close(one.params, four.params, rtol=1e-5, atol=1e-7)
    assert float(metrics["loss"]) == pytest.approx(float(same["loss"]), rel=1e-5)
    assert (
        jnp.abs(one.params["heads"]["style"]["kernel"] - state.params["heads"]["style"]["kernel"]).max() > 0
    )


def test_accumulation_updates_statistics_once_a_micro_batch():
    step, state = built(optim__accumulate=2)
    after, _ = step(state, batch())
    means = []
    for half in (slice(0, 8, 2), slice(1, 8, 2)):
        x = batch()["inputs"]["images"][half].astype(np.float64) / 127.5 - 1
        means.append((x @ np.asarray(state.params["backbone"]["conv"]["kernel"])[0, 0]).mean((0, 1, 2)))
    m = 0.97
    first = m * (1 - m) / (1 - m**2)  # bias correction: the start weighs nothing
    np.testing.assert_allclose(
        after.batch_stats["backbone"]["bn"]["moving_mean"],
        first * means[0] + (1 - first) * means[1],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize(("part", "task"), [("labels", "distribution"), ("weights", "style")])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(part, task):
    step, state = built(optim__ema_decay=0.9)
    state, _ = step(state, batch())
    poisoned = batch(1)
    poisoned[part][task][1] = np.inf
    after, metrics = step(state, poisoned)
    for same in ("params", "batch_stats", "seen", "log_sigma", "opt_state", "average"):
        assert_trees_close(getattr(after, same), getattr(state, same), rtol=0, atol=0)
    assert (int(after.step), int(after.skipped), int(after.bad_steps)) == (2, 1, 1)
    assert int(metrics["bad_steps"]) == 1
    again, _ = step(after, batch(2))
    assert (int(again.skipped), int(again.bad_steps)) == (1, 0)
    # as if the bad one had not been: Adam's moments and the moving average too
    direct, _ = step(state, batch(2))
    assert_trees_close(again.opt_state, direct.opt_state, rtol=1e-6)


def test_fillers_change_nothing():
    step, state = built()
    full = batch()
    wide = jax.tree.map(lambda values: np.concatenate([values, np.zeros_like(values)]), full)
    wide["inputs"]["images"][8:] = 200
    (one, _), (two, _) = step(state, full), step(state, wide)
    assert_trees_close(one.params, two.params, rtol=1e-4, atol=1e-6)
    assert_trees_close(one.batch_stats, two.batch_stats, rtol=1e-4, atol=1e-6)


def filled(pictures, seed):
    """A batch whose last slots are empty."""
    return jax.tree.map(
        lambda values: np.concatenate([values[:pictures], 0 * values[pictures:]]), batch(seed)
    )


def moving_mean(state):
    return np.asarray(state.batch_stats["backbone"]["bn"]["moving_mean"])


def mean_of(state, seed, pictures):
    """The batch norm's input, averaged over the pictures of a batch."""
    x = batch(seed)["inputs"]["images"][:pictures].astype(np.float64) / 127.5 - 1
    return (x @ np.asarray(state.params["backbone"]["conv"]["kernel"])[0, 0]).mean((0, 1, 2))


@pytest.mark.parametrize("pretrained", [False, True])
def test_running_statistics_move_by_the_share_of_pictures(pretrained):
    """Weighted sums by hand: a full batch counts 1, one of two pictures in eight slots 1/4."""
    step, state = built(pretrained, optim__trunk_rate=0.0, model__bn_momentum_pretrained=0.9)
    m = 0.9 if pretrained else 0.97
    old, weight = moving_mean(state), 1.0 if pretrained else 0.0
    for seed, pictures in enumerate([2, 8, 1, 8]):
        state, _ = step(state, filled(pictures, seed))
        keep = m ** (pictures / 8)
        old = (keep * weight * old + (1 - keep) * mean_of(state, seed, pictures)) / (keep * weight + 1 - keep)
        weight = keep * weight + 1 - keep
        np.testing.assert_allclose(moving_mean(state), old, rtol=1e-4, atol=1e-6)
    assert float(state.seen) == pytest.approx(19 / 8)


def test_a_micro_batch_without_pictures_leaves_the_statistics():
    step, state = built(optim__accumulate=8)
    after, metrics = step(state, filled(1, 0))
    np.testing.assert_allclose(moving_mean(after), mean_of(state, 0, 1), rtol=1e-4, atol=1e-6)
    assert float(after.seen) == 1 and int(after.skipped) == 0 and np.isfinite(float(metrics["loss"]))


def test_a_picture_without_a_style_gives_the_style_head_no_gradient():
    step, state = built(optim__name="adam")
    after, _ = step(state, without_styles(batch()))
    assert_trees_close(after.params["heads"]["style"], state.params["heads"]["style"], rtol=0, atol=0)
    assert (
        jnp.abs(
            after.params["heads"]["distribution"]["kernel"] - state.params["heads"]["distribution"]["kernel"]
        ).max()
        > 0
    )


def test_sigma_is_fixed_unless_learned_and_rests_without_labels():
    step, state = built()
    after, metrics = step(state, batch())
    assert_trees_close(after.log_sigma, state.log_sigma, rtol=0, atol=0)
    assert float(metrics["log_sigma_style"]) == pytest.approx(0.6)
    step, state = built(loss__learn_sigma=True, optim__weight_decay=0.0)
    after, _ = step(state, without_styles(batch()))
    assert float(after.log_sigma["style"]) == pytest.approx(0.6)
    assert float(after.log_sigma["distribution"]) < 0.5  # the loss is small: sigma falls


def test_learned_sigma_stays_in_the_papers_range():
    step, state = built(loss__learn_sigma=True, optim__sigma_rate=10.0, optim__schedule="constant")
    for seed in range(3):
        state, _ = step(state, batch(seed))
        for value in state.log_sigma.values():
            assert -1.0 <= float(value) <= 2.5


def test_frozen_backbone_keeps_weights_and_statistics_until_it_thaws():
    step, state = built(optim__freeze_steps=2)
    first, _ = step(state, batch(0))
    second, _ = step(first, batch(1))
    assert_trees_close(second.params["backbone"], state.params["backbone"], rtol=0, atol=0)
    assert_trees_close(second.batch_stats, state.batch_stats, rtol=0, atol=0)
    third, _ = step(second, batch(2))
    assert (
        jnp.abs(third.params["backbone"]["conv"]["kernel"] - state.params["backbone"]["conv"]["kernel"]).max()
        > 0
    )


def test_a_skipped_step_delays_the_thaw_of_weights_and_statistics_alike():
    step, state = built(optim__freeze_steps=2, optim__schedule="constant")
    poisoned = batch(1)
    poisoned["labels"]["distribution"][1] = np.inf
    for seed, given in enumerate([batch(0), poisoned, batch(2)]):
        state, _ = step(state, given)
        assert int(state.step) == seed + 1 and not moving_mean(state).any()
    before = state
    state, _ = step(state, batch(3))
    assert moving_mean(state).any() and float(state.seen) == 1
    moved = state.params["backbone"]["conv"]["kernel"] - before.params["backbone"]["conv"]["kernel"]
    assert jnp.abs(moved).max() > 0


def test_moving_average_of_weights_and_statistics():
    step, state = built(optim__ema_decay=0.5)
    after, _ = step(state, batch())
    decay = min(0.5, 1 / 10)
    for part in ("params", "batch_stats"):
        expected = jax.tree.map(
            lambda old, new: decay * old + (1 - decay) * new, getattr(state, part), getattr(after, part)
        )
        assert_trees_close(after.average[part], expected, rtol=1e-5, atol=1e-7)
    assert after.evaluation_variables() is after.average


def test_no_buffer_of_the_state_is_held_twice():
    """Donating the state would give it away twice."""
    _, state = built(optim__ema_decay=0.5)
    donated = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    after = donated(jax.tree.map(lambda x: x, state))
    assert int(after.step) == 1


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_state_is_put_together_again_from_its_parts(ema):
    step, state = built(optim__ema_decay=ema)
    state, _ = step(state, batch())
    model, others = state.parts()
    assert_trees_close(model, state.evaluation_variables(), rtol=0, atol=0)
    assert set(model) == {"params", "batch_stats"}
    assert ("params" in others) == (ema > 0)
    again = TrainState.joined(model, others)
    assert_trees_close(again, state, rtol=0, atol=0)


def test_one_step_by_hand():
    """Plain gradient descent written out: Adam's first step is the sign of the gradient times the rate."""
    step, state = built(
        optim__name="adam",
        optim__clip_norm=0.0,
        optim__schedule="constant",
        optim__heads_rate=1e-3,
        optim__heads_rate_by="one",
    )
    after, metrics = step(state, batch())
    b = jax.tree.map(jnp.asarray, batch())
    labels, weights = b["labels"], b["weights"]

    def loss(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, _ = SMALL.logits(variables, b["inputs"], BatchStatistics(0.0))
        p = jax.nn.softmax(logits["distribution"])
        gap = jnp.cumsum(labels["distribution"] - p, axis=1)
        emd = jnp.sum(weights["distribution"] * jnp.sqrt(jnp.mean(gap**2, axis=1))) / 8
        high = optax.softmax_cross_entropy_with_integer_labels(
            logits["two_category"], labels["two_category"].astype(int)
        )
        style = weights["style"] @ optax.softmax_cross_entropy(logits["style"], labels["style"]) / 4
        shares = np.array([8 / 8, 8 / 8, 4 / 4])
        parts = jnp.stack([emd, 0.15 * jnp.sum(high) / 8, 0.06 * style])
        sigma = jnp.array([0.5, 0.9, 0.6])
        return jnp.sum(0.5 * parts * jnp.exp(-2 * sigma) + shares * sigma)

    value, gradient = jax.value_and_grad(loss)(state.params)
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-5)
    moved = after.params["heads"]["distribution"]["bias"] - state.params["heads"]["distribution"]["bias"]
    np.testing.assert_allclose(moved, -1e-3 * np.sign(gradient["heads"]["distribution"]["bias"]), rtol=1e-3)
    moved = after.params["backbone"]["conv"]["kernel"] - state.params["backbone"]["conv"]["kernel"]
    gradient = gradient["backbone"]["conv"]["kernel"]
    # the trunk's own rate; Adam's epsilon shows where a gradient is tiny
    np.testing.assert_allclose(moved, -1e-4 * gradient / (np.abs(gradient) + 1e-8), rtol=2e-3)


def test_a_batch_of_fillers_has_no_gradient():
    """Nothing but weight decay moves: Eq. 1 of no picture is zero, and so are its gradients."""
    step, state = built(optim__name="adam")
    after, metrics = step(state, jax.tree.map(np.zeros_like, batch()))
    assert float(metrics["loss"]) == 0 and float(metrics["gradient_norm"]) == 0
    assert_trees_close(after.params, state.params, rtol=0, atol=0)


@pytest.mark.parametrize("tasks", [("style",), ("two_category", "distribution")])
def test_a_network_of_some_tasks_has_their_loss_alone(tasks):
    config = configured()
    model = dataclasses.replace(SMALL, outputs={task: TASKS[task] for task in tasks}, module=Small(tasks))
    optimiser = build_optimiser(config, model, 100, 10)
    step = TrainStep(model, Objective(config.loss, DENOMINATORS, "softmax"), optimiser, config, False)
    state = initial_state(model.init(0), dict.fromkeys(tasks, 0.0), optimiser, ema=False)
    whole = batch()
    some = {
        part: rows if part in ("inputs", "slots") else {task: rows[task] for task in tasks}
        for part, rows in whole.items()
    }
    after, metrics = jax.jit(step)(state, some)
    assert {name for name in metrics if name.startswith("loss_")} == {f"loss_{task}" for task in tasks}
    factors = {"distribution": 1.0, "two_category": 0.15, "style": 0.06}
    expected = sum(0.5 * factors[task] * float(metrics[f"loss_{task}"]) for task in tasks)
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)
    assert set(after.log_sigma) == set(tasks) == set(after.params["heads"])
