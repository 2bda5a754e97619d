"""Groups, schedules, clipping, decay and freezing against closed forms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtp.config import get_config
from mtp.models.model import Model
from mtp.training import optim

STEPS, EPOCH = 100, 10


def config(**changes):
    c = get_config().optim
    c.update(
        {"schedule": "constant", "warmup_epochs": 0.0, "clip_norm": 0.0, "heads_rate_by": "one", **changes}
    )
    return c


@pytest.fixture
def params():
    draw = np.random.default_rng(0).normal
    return {
        "backbone": {
            "depthwise": jnp.array(draw(size=(3, 3, 4, 1)), jnp.float32),
            "norm": {"scale": jnp.array(draw(size=4), jnp.float32)},
        },
        "backbone_spp": {"kernel": jnp.array(draw(size=(4, 2)), jnp.float32)},
        "heads": {"dense": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}},
        "log_sigma": {"distribution": jnp.float32(0.5), "style": jnp.float32(0.6)},
    }


def gradients_of(params, seed=1):
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.array(draw.normal(size=p.shape), jnp.float32), params)


def run(c, params, gradients, learn_sigma=False):
    """The update of each step, one for each tree of gradients."""
    optimiser = optim.build(c, STEPS, EPOCH, groups_of(params), learn_sigma=learn_sigma)
    state, updates = optimiser.init(params), []
    step = jax.jit(optimiser.update)
    for g in gradients:
        update, state = step(g, state, params)
        updates.append(update)
        params = optax.apply_updates(params, update)
    return updates


def assert_trees_close(a, b, rtol=1e-5):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-12), a, b)


def groups_of(params):
    """The group of every parameter: those of a model's trees at the top, and sigma's."""
    model = Model(
        nn.Module(), {}, dict, groups={"backbone": "trunk", "backbone_spp": "trunk", "heads": "heads"}
    )
    network = {name: tree for name, tree in params.items() if name != "log_sigma"}
    return {**model.group_of_parameters(network), "log_sigma": dict.fromkeys(params["log_sigma"], "sigma")}


def test_every_parameter_has_the_group_of_its_top_level_name(params):
    groups = groups_of(params)
    assert jax.tree.structure(groups) == jax.tree.structure(params)
    assert {name: set(jax.tree.leaves(tree)) for name, tree in groups.items()} == {
        "backbone": {"trunk"},
        "backbone_spp": {"trunk"},
        "heads": {"heads"},
        "log_sigma": {"sigma"},
    }


def test_a_name_of_no_group_is_an_error(params):
    with pytest.raises(KeyError, match="adapter"):
        groups_of({**params, "adapter": {"kernel": jnp.ones(1)}})


def test_a_group_that_is_none_is_an_error_that_says_it(params):
    groups = {**groups_of(params), "adapter": {"kernel": "adapter"}}
    with pytest.raises(
        ValueError, match=r"a parameter's group must be one of trunk, heads, sigma, not adapter"
    ):
        optim.build(config(), STEPS, EPOCH, groups, learn_sigma=False)


def test_a_network_may_be_all_heads(params):
    """A group without parameters takes no part."""
    g = gradients_of(params)
    alone = {name: params[name] for name in ("heads", "log_sigma")}
    (update,) = run(config(), alone, [{name: g[name] for name in alone}])
    assert_trees_close(update["heads"], run(config(), params, [g])[0]["heads"])


def test_the_first_step_of_adam_is_the_rate_against_the_sign_of_the_gradient(params):
    c = config(name="adam", trunk_rate=0.01, heads_rate=0.003, sigma_rate=0.002)
    g = gradients_of(params)
    (update,) = run(c, params, [g], learn_sigma=True)
    rate = {"backbone": 0.01, "backbone_spp": 0.01, "heads": 0.003, "log_sigma": 0.002}
    expected = {name: jax.tree.map(lambda x, r=rate[name]: -r * jnp.sign(x), g[name]) for name in g}
    assert_trees_close(update, expected)


def test_later_steps_are_adams_recursion(params):
    grads = [gradients_of(params, seed) for seed in (1, 2, 3)]
    last = run(config(name="adam", heads_rate=0.003), params, grads)[-1]["heads"]["dense"]["kernel"]
    mean = square = np.zeros((4, 2))
    for tree in grads:
        g = np.asarray(tree["heads"]["dense"]["kernel"], np.float64)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
    expected = -0.003 * (mean / (1 - 0.9**3)) / (np.sqrt(square / (1 - 0.999**3)) + 1e-8)
    np.testing.assert_allclose(last, expected, rtol=1e-4)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_by_fan_in_a_layers_steps_are_those_of_one_rate_times_a_thousand_over_its_inputs(name, weight_decay):
    shapes = {
        "gap": {"style": {"kernel": (4, 3), "bias": (3,)}},
        "fcn": {
            "hidden": {"kernel": (1, 1, 4, 8), "bias": (8,)},
            "style": {"kernel": (1, 1, 8, 3), "bias": (3,)},
        },
        "spp": {"style": {"kernel": (104, 3), "bias": (3,)}},
        "cascade": {"style": {"kernel": (5, 3)}},
    }
    inputs = {"gap/style": 4, "fcn/hidden": 4, "fcn/style": 8, "spp/style": 104, "cascade/style": 5}
    draw = np.random.default_rng(3)
    heads = jax.tree.map(
        lambda shape: jnp.array(draw.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda s: isinstance(s, tuple),
    )
    params = {
        "backbone": {"kernel": jnp.ones((2, 2))},
        "heads": heads,
        "log_sigma": {"style": jnp.float32(0.5)},
    }
    grads = [gradients_of(params, seed) for seed in (1, 2)]
    c = {"name": name, "weight_decay": weight_decay, "heads_rate": 0.003, "freeze_steps": 1}
    one = run(config(**c, heads_rate_by="one"), params, grads[:1])[0]
    shared = run(config(**c, heads_rate_by="fan_in"), params, grads[:1])[0]
    for layer, n in inputs.items():
        column, task = layer.split("/")
        expected = jax.tree.map(lambda step, n=n: step * 1000 / n, one["heads"][column][task])
        assert_trees_close(shared["heads"][column][task], expected)
    assert_trees_close({**shared, "heads": {}}, {**one, "heads": {}})


def test_by_fan_in_one_step_of_adam_moves_the_logits_of_all_columns_as_far():
    """Features of one and gradients of one sign: the furthest that a step can go."""
    params = {
        "heads": {
            name: {"kernel": jnp.zeros((n, 2))} for name, n in (("fcn", 256), ("gap", 1056), ("spp", 27_456))
        },
        "log_sigma": {"style": jnp.float32(0.0)},
    }
    grads = jax.tree.map(jnp.ones_like, params)
    (update,) = run(config(name="adam", heads_rate=3e-4, heads_rate_by="fan_in"), params, [grads])
    moved = [np.asarray(column["kernel"]).sum(axis=0) for column in update["heads"].values()]
    np.testing.assert_allclose(moved, -0.3, rtol=1e-4)


def test_weight_decay_is_for_kernels_only(params):
    c = config(trunk_rate=0.01, heads_rate=0.003, sigma_rate=0.002, weight_decay=0.1)
    zeros = jax.tree.map(jnp.zeros_like, params)
    (update,) = run(c, params, [zeros], learn_sigma=True)
    expected = {
        "backbone": {
            "depthwise": -0.01 * 0.1 * params["backbone"]["depthwise"],
            "norm": {"scale": jnp.zeros(4)},
        },
        "backbone_spp": {"kernel": -0.01 * 0.1 * params["backbone_spp"]["kernel"]},
        "heads": {"dense": {"kernel": jnp.full((4, 2), -0.003 * 0.1), "bias": jnp.zeros(2)}},
        "log_sigma": zeros["log_sigma"],
    }
    assert_trees_close(update, expected)


def test_adam_has_no_weight_decay(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    (update,) = run(config(name="adam", weight_decay=0.1), params, [zeros])
    assert_trees_close(update, zeros)


def test_clipping_is_by_the_norm_over_all_groups(params):
    """Adam forgets the scale of a constant gradient, so the second of two unequal ones is looked at."""
    g = gradients_of(params)
    big = jax.tree.map(lambda x: 3.0 * x, g)
    norm = float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(g))))
    clipped = run(config(clip_norm=norm), params, [g, big], learn_sigma=True)[-1]
    assert_trees_close(clipped, run(config(), params, [g, g], learn_sigma=True)[-1], rtol=1e-4)
    free = run(config(), params, [g, big], learn_sigma=True)[-1]
    assert not np.allclose(free["heads"]["dense"]["bias"], clipped["heads"]["dense"]["bias"], rtol=1e-2)


@pytest.mark.parametrize("group", ["log_sigma", "backbone"])
def test_a_frozen_group_neither_moves_nor_shortens_the_others_steps(params, group):
    frozen = {"log_sigma": {}, "backbone": {"freeze_steps": optim.ALWAYS}}[group]
    g = gradients_of(params)
    huge = g | {group: jax.tree.map(lambda x: 1e6 * x, g[group])}
    c = config(clip_norm=1.0, **frozen)
    calm, loud = run(c, params, [g, g]), run(c, params, [g, huge])
    assert_trees_close(loud[-1], calm[-1])
    assert all(not leaf.any() for leaf in jax.tree.leaves(loud[-1][group]))
    assert loud[-1]["heads"]["dense"]["bias"].all()


def test_a_learned_sigma_moves(params):
    (update,) = run(config(), params, [gradients_of(params)], learn_sigma=True)
    assert all(leaf != 0 for leaf in jax.tree.leaves(update["log_sigma"]))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_trunk_starts_after_freeze_steps_as_a_new_adam_does(params, name):
    c = config(name=name, freeze_steps=3, weight_decay=0.1, trunk_rate=0.01)
    updates = run(c, params, [gradients_of(params)] * 5)
    for update in updates[:3]:
        assert all(not leaf.any() for leaf in jax.tree.leaves((update["backbone"], update["backbone_spp"])))
        assert update["heads"]["dense"]["kernel"].all()
    c.freeze_steps = 0
    fresh = run(c, params, [gradients_of(params)] * 2)
    assert_trees_close([u["backbone"] for u in updates[3:]], [u["backbone"] for u in fresh])


def test_the_update_has_the_rate_that_rates_gives_for_its_step(params):
    """With one gradient again and again each Adam step is exactly its rate."""
    c = config(name="adam", schedule="cosine", warmup_epochs=0.3, freeze_steps=2)
    updates = run(c, params, [gradients_of(params)] * 6)
    schedules = optim.rates(c, STEPS, EPOCH)
    for step, update in enumerate(updates):
        trunk, heads = update["backbone"]["depthwise"], update["heads"]["dense"]["kernel"]
        np.testing.assert_allclose(np.abs(trunk), schedules["trunk"](step), rtol=1e-4)
        np.testing.assert_allclose(np.abs(heads), schedules["heads"](step), rtol=1e-4)
    assert schedules["trunk"](1) == 0 < schedules["trunk"](2)


def test_cosine_after_a_linear_warm_up():
    rate = optim.rates(config(schedule="cosine", warmup_epochs=0.5, heads_rate=0.6), STEPS, EPOCH)["heads"]
    t = np.arange(STEPS + 1)
    expected = np.where(t < 5, 0.6 * (t + 1) / 6, 0.3 * (1 + np.cos(np.pi * (t - 5) / 95)))
    np.testing.assert_allclose([rate(step) for step in t], expected, rtol=1e-5, atol=1e-7)


def test_constant_after_a_linear_warm_up():
    rate = optim.rates(config(warmup_epochs=0.2, heads_rate=0.6), STEPS, EPOCH)["heads"]
    np.testing.assert_allclose([rate(s) for s in (0, 1, 2, 3, 99)], [0.2, 0.4, 0.6, 0.6, 0.6], rtol=1e-6)


def test_a_run_shorter_than_its_warm_up_still_reaches_the_peak():
    rate = optim.rates(config(schedule="cosine", warmup_epochs=5.0, heads_rate=0.6), 4, EPOCH)["heads"]
    np.testing.assert_allclose([rate(s) for s in range(4)], [0.15, 0.3, 0.45, 0.6], rtol=1e-6)


def test_a_trunk_frozen_for_ever_has_rate_zero():
    rate = optim.rates(config(freeze_steps=optim.ALWAYS), STEPS, EPOCH)["trunk"]
    assert not any(rate(step) for step in range(STEPS))
