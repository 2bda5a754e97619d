"""The training step: pure, exact under accumulation, unmoved by what is not finite."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtp.config import get_config
from mtp.models import mtp_nasnet
from mtp.models.layers import BatchNorm, BatchStatistics, Pointwise
from mtp.models.mtp_nasnet import MTPNasNet
from mtp.ops.canvas import to_float
from mtp.ops.pyramid import global_average
from mtp.training import optim
from mtp.training.step import Objective, TrainStep, eval_step, initial_state

TASKS = {"distribution": 5, "two_category": 2, "style": 3}
DENOMINATORS = {"distribution": 8.0, "two_category": 8.0, "style": 4.0}


class Trunk(nn.Module):
    @nn.compact
    def __call__(self, x, sizes, statistics):
        return jax.nn.relu(BatchNorm(6, name="bn")(Pointwise(6, name="conv")(x), sizes, statistics))


class Heads(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {task: nn.Dense(n, name=task)(x) for task, n in TASKS.items()}


class Small(MTPNasNet):
    """The model's interface with one masked batch norm inside, which compiles in a moment."""

    @nn.compact
    def __call__(self, images, sizes, statistics=None):
        x = Trunk(name="backbone")(to_float(images, sizes), sizes, statistics)
        return Heads(name="heads")(global_average(x, sizes))


SMALL = Small(config=None, outputs=TASKS)


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
    return {
        "images": rng.integers(0, 256, (slots, 9, 9, 3), dtype=np.uint8),
        "sizes": np.full((slots, 2), 9, np.int32),
        "distribution": rng.dirichlet(np.ones(5), slots).astype(np.float32),
        "distribution_weight": rng.uniform(0.5, 1.5, slots).astype(np.float32),
        "two_category": rng.integers(0, 2, slots).astype(np.float32),
        "two_category_weight": np.ones(slots, np.float32),
        "style": np.eye(3, dtype=np.float32)[rng.integers(0, 3, slots)],
        "style_weight": (np.arange(slots) % 2).astype(np.float32),
    }


def built(**options):
    """(step, state) on the small model."""
    config, model = configured(**options), SMALL
    variables = model.init(jax.random.key(0), jnp.zeros((1, 9, 9, 3), jnp.uint8), jnp.full((1, 2), 9))
    sigmas = {"distribution": 0.5, "two_category": 0.9, "style": 0.6}
    shapes = {**variables["params"], "log_sigma": {task: np.float32(0) for task in TASKS}}
    optimiser = optim.build(config.optim, 100, 10, shapes, learn_sigma=config.loss.learn_sigma)
    objective = Objective(config.loss, DENOMINATORS, "softmax")
    step = jax.jit(TrainStep(model, objective, optimiser, config, False))
    return step, initial_state(variables, sigmas, optimiser, ema=config.optim.ema_decay > 0)


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
    for half in (slice(0, 4), slice(4, 8)):
        x = batch()["images"][half].astype(np.float64) / 127.5 - 1
        means.append((x @ np.asarray(state.params["backbone"]["conv"]["kernel"])[0, 0]).mean((0, 1, 2)))
    m = 0.97
    first = m * (1 - m) / (1 - m**2)  # bias correction: the start weighs nothing
    np.testing.assert_allclose(
        after.batch_stats["backbone"]["bn"]["moving_mean"],
        first * means[0] + (1 - first) * means[1],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ["distribution", "style_weight"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(name):
    step, state = built(optim__ema_decay=0.9)
    state, _ = step(state, batch())
    poisoned = batch(1)
    poisoned[name] = poisoned[name].copy()
    poisoned[name][1] = np.inf
    after, metrics = step(state, poisoned)
    for part in ("params", "batch_stats", "opt_state", "average"):
        assert_trees_close(getattr(after, part), getattr(state, part), rtol=0, atol=0)
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
    wide = {name: np.concatenate([values, np.zeros_like(values)]) for name, values in full.items()}
    wide["images"][8:] = 200
    (one, _), (two, _) = step(state, full), step(state, wide)
    assert_trees_close(one.params, two.params, rtol=1e-4, atol=1e-6)
    assert_trees_close(one.batch_stats, two.batch_stats, rtol=1e-4, atol=1e-6)


def test_a_picture_without_a_style_gives_the_style_head_no_slope():
    step, state = built(optim__name="adam")
    unlabelled = batch() | {"style_weight": np.zeros(8, np.float32)}
    after, _ = step(state, unlabelled)
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
    assert_trees_close(after.params["log_sigma"], state.params["log_sigma"], rtol=0, atol=0)
    assert float(metrics["log_sigma_style"]) == pytest.approx(0.6)
    step, state = built(loss__learn_sigma=True, optim__weight_decay=0.0)
    after, _ = step(state, batch() | {"style_weight": np.zeros(8, np.float32)})
    assert float(after.params["log_sigma"]["style"]) == pytest.approx(0.6)
    assert float(after.params["log_sigma"]["distribution"]) < 0.5  # the loss is small: sigma falls


def test_learned_sigma_stays_in_the_papers_range():
    step, state = built(loss__learn_sigma=True, optim__sigma_rate=10.0, optim__schedule="constant")
    for seed in range(3):
        state, _ = step(state, batch(seed))
        for value in state.params["log_sigma"].values():
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
    donated(jax.tree.map(lambda x: x, state))


def test_one_step_by_hand():
    """Plain gradient descent written out: Adam's first step is the sign of the gradient times the rate."""
    step, state = built(
        optim__name="adam", optim__clip_norm=0.0, optim__schedule="constant", optim__heads_rate=1e-3
    )
    after, metrics = step(state, batch())
    b = {name: jnp.asarray(values) for name, values in batch().items()}

    def loss(params):
        weights = {k: v for k, v in params.items() if k != "log_sigma"}
        logits, _ = SMALL.apply(
            {"params": weights, "batch_stats": state.batch_stats}, b["images"], b["sizes"],
            BatchStatistics(0.0), mutable=["batch_stats"],
        )  # fmt: skip
        p = jax.nn.softmax(logits["distribution"])
        gap = jnp.cumsum(b["distribution"] - p, axis=1)
        emd = jnp.sum(b["distribution_weight"] * jnp.sqrt(jnp.mean(gap**2, axis=1))) / 8
        high = optax.softmax_cross_entropy_with_integer_labels(
            logits["two_category"], b["two_category"].astype(int)
        )
        style = b["style_weight"] @ optax.softmax_cross_entropy(logits["style"], b["style"]) / 4
        shares = np.array([8 / 8, 8 / 8, 4 / 4])
        parts = jnp.stack([emd, 0.15 * jnp.sum(high) / 8, 0.06 * style])
        sigma = jnp.array([0.5, 0.9, 0.6])
        return jnp.sum(0.5 * parts * jnp.exp(-2 * sigma) + shares * sigma)

    value, slope = jax.value_and_grad(loss)(state.params)
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-5)
    moved = after.params["heads"]["distribution"]["bias"] - state.params["heads"]["distribution"]["bias"]
    np.testing.assert_allclose(moved, -1e-3 * np.sign(slope["heads"]["distribution"]["bias"]), rtol=1e-3)
    moved = after.params["backbone"]["conv"]["kernel"] - state.params["backbone"]["conv"]["kernel"]
    slope = slope["backbone"]["conv"]["kernel"]
    # the trunk's own rate; Adam's epsilon shows where a slope is tiny
    np.testing.assert_allclose(moved, -1e-4 * slope / (np.abs(slope) + 1e-8), rtol=2e-3)


def test_weights_of_fillers_only_change_nothing_finite():
    step, state = built()
    nothing = jax.tree.map(np.zeros_like, batch())
    after, _ = step(state, nothing)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(after.params))


@pytest.mark.slow
def test_golden_step_of_the_tiny_model():
    """A full step of the real model twice from the same seed gives the same bits."""
    config = configured(model__backbone="tiny", model__fcn_hidden=16)
    model = mtp_nasnet.build(config.model, 5, 3)
    rng = np.random.default_rng(0)
    b = batch() | {"images": rng.integers(0, 256, (8, 33, 49, 3), dtype=np.uint8)}
    b["sizes"] = np.full((8, 2), (33, 49), np.int32)
    variables = jax.jit(model.init)(jax.random.key(0, impl="rbg"), b["images"][:1], b["sizes"][:1])
    shapes = {**variables["params"], "log_sigma": {task: np.float32(0) for task in TASKS}}
    optimiser = optim.build(config.optim, 100, 10, shapes, learn_sigma=False)
    step = jax.jit(
        TrainStep(model, Objective(config.loss, DENOMINATORS, "softmax"), optimiser, config, False)
    )
    sigmas = {"distribution": 0.5, "two_category": 0.9, "style": 0.6}
    states = [initial_state(variables, sigmas, optimiser, ema=False) for _ in range(2)]
    after = [step(state, b)[0] for state in states]
    assert_trees_close(after[0].params, after[1].params, rtol=0, atol=0)
    predict = jax.jit(functools.partial(eval_step, model, "softmax"))
    outputs = predict(after[0].evaluation_variables(), b["images"], b["sizes"])
    np.testing.assert_allclose(outputs["distribution"].sum(axis=1), 1, rtol=1e-5)
    assert outputs["p_high"].shape == (8,) and outputs["style"].shape == (8, 3)
