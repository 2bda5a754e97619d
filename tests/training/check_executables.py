"""Checks of kept programs that run-time type checks would disturb; test_executables.py runs them without.

A checked function is a wrapper that cannot be described, and a checked TrainState takes arrays only.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtp.config import ConfigError, get_config
from mtp.data.batches.buckets import trimmed
from mtp.models import mtp_nasnet
from mtp.native import library as native
from mtp.ops.kernels import PLAIN
from mtp.runtime.mesh import compiler_options, data_mesh, put_batch, replicated, replicated_shapes
from mtp.training import optim
from mtp.training.executables import described
from mtp.training.experiment import fresh_variables
from mtp.training.programs import Programs
from mtp.training.step import Objective, TrainStep, initial_state

PARAMS = {
    "backbone": {"kernel": (3, 4), "bias": (4,)},
    "heads": {"kernel": (4, 2)},
    "log_sigma": {"style": ()},
}
SHAPES = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, np.float32), PARAMS, is_leaf=lambda x: isinstance(x, tuple)
)


def optimiser(steps=1000, steps_per_epoch=100, learn_sigma=False, params=SHAPES, **options):
    config = get_config().optim
    config.update(options)
    return optim.build(config, steps, steps_per_epoch, params, learn_sigma=learn_sigma)


def objective(denominators=(("distribution", 8.0),), style_kind="softmax", **options):
    config = get_config().loss
    config.update(options)
    return Objective(config, dict(denominators), style_kind)


def model(ratings=5, styles=2, kernels=PLAIN, **options):
    config = get_config().model
    config.backbone = "tiny"
    config.update(options)
    return mtp_nasnet.build(config, ratings, styles, kernels)


def step(pretrained=False, **optim_options):
    config = get_config()
    config.optim.update(optim_options)
    return TrainStep(model(), objective(), optimiser(), config, pretrained)


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (
            optimiser,
            [
                {"steps": 1001}, {"steps_per_epoch": 101}, {"learn_sigma": True}, {"name": "adam"},
                {"trunk_rate": 2e-4}, {"heads_rate": 2e-5}, {"learn_sigma": True, "sigma_rate": 2e-3},
                {"schedule": "constant"}, {"warmup_epochs": 2.0}, {"weight_decay": 2e-4}, {"clip_norm": 2.0},
                {"clip_norm": 0.0}, {"freeze_steps": 1}, {"freeze_steps": 2}, {"freeze_steps": -1},
                {"params": {**SHAPES, "backbone_spp": SHAPES["backbone"]}},
            ],
        ),
        (
            objective,
            [
                {"denominators": (("distribution", 9.0),)}, {"denominators": (("distribution", np.nextafter(8.0, 9)),)},
                {"denominators": (("style", 8.0),)}, {"style_kind": "sigmoid"}, {"emd_r": 1},
                {"emd_squared": True}, {"target": "mean"}, {"task_weight": "sum"}, {"style_factor": 0.07},
            ],
        ),
        (
            model,
            [
                {"ratings": 6}, {"styles": 3}, {"styles": 0}, {"kernels": native.KERNELS}, {"remat": True},
                {"backbone": "mobile"}, {"columns": ("spp", "fcn")}, {"dtype": "bfloat16"}, {"fcn_hidden": 257},
            ],
        ),
        (step, [{"pretrained": True}, {"accumulate": 2}, {"ema_decay": 0.5}, {"freeze_steps": 3}]),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)  # fmt: skip
def test_every_value_that_enters_a_program_is_in_its_description(make, changes):
    texts = [described(make(**change)) for change in [{}, *changes]]
    assert len(set(texts)) == len(texts)
    assert [described(make(**change)) for change in [{}, *changes]] == texts


def test_of_every_option_of_a_step():
    """Whatever is added to these sections later is told apart too."""
    config = get_config()
    before = described(TrainStep(model(), objective(), optimiser(), config, False))
    for section in ("model", "loss", "optim"):
        for name in config[section]:
            other = get_config()
            with other.ignore_type():
                other[section][name] = "another value"
            assert described(TrainStep(model(), objective(), optimiser(), other, False)) != before, name


def alike():
    """Two functions of one name, one line and one body, but for what they close over."""
    return [optim._after(optax.constant_schedule(1.0), freeze_steps) for freeze_steps in (1, 2)]


def test_values_alike_are_told_apart():
    values = [
        1, 1.0, True, "1", b"1", (1,), [1], {"a": 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": (1, "b", 2)},
        np.float32(1), np.float64(1), np.ones(1), np.ones(1, np.int32), jnp.ones(1), np.dtype("float32"), jnp.float32,
        None, -0.0, 0.0, *alike(), optim.rates, optim.labels, functools.partial(optim.rates, 1),
        functools.partial(optim.rates, steps=1),
    ]  # fmt: skip
    texts = list(map(described, values))
    assert len(set(texts)) == len(texts)


def small_config():
    config = get_config()
    config.model.backbone, config.model.fcn_hidden, config.optim.ema_decay = "tiny", 16, 0.9
    return config


@pytest.fixture(scope="module")
def variables():
    """Those that a tiny model starts from, whatever its kernels."""
    net = mtp_nasnet.build(small_config().model, 5, 2)
    program = jax.jit(
        functools.partial(fresh_variables, net, 0), compiler_options=compiler_options(run_once=True)
    )
    return jax.device_get(program())


def train(kernels, variables):
    """Two steps of a tiny model with everything on; the state and metrics."""
    config = small_config()
    net = mtp_nasnet.build(config.model, 5, 2, kernels)
    sigmas = dict.fromkeys(net.outputs, 0.5)
    params = {**variables["params"], "log_sigma": dict.fromkeys(sigmas, jax.ShapeDtypeStruct((), np.float32))}
    moves = optim.build(config.optim, 100, 10, params, learn_sigma=False)
    train_step = TrainStep(
        net, Objective(config.loss, dict.fromkeys(sigmas, 4.0), "softmax"), moves, config, False
    )
    mesh = data_mesh(1)
    state = jax.device_put(initial_state(variables, sigmas, moves, ema=True), replicated(mesh))
    height, width = map(int, trimmed(np.array((48, 64))))
    rng = np.random.default_rng(0)
    batch = put_batch(
        {
            "images": rng.integers(0, 256, (4, height, width, 3), np.uint8),
            "sizes": np.tile(np.array([[height, width]], np.int32), (4, 1)),
            "distribution": rng.dirichlet(np.ones(5), 4).astype(np.float32),
            "two_category": np.array([0, 1, 0, 1], np.float32),
            "style": np.eye(2, dtype=np.float32)[[0, 1, 0, 1]],
            **{f"{task}_weight": np.ones(4, np.float32) for task in net.outputs},
        },
        mesh,
    )
    programs = Programs(train_step, replicated_shapes(state, mesh), {(height, width): batch}, mesh, 1)
    assert programs.wait() == 2
    told = []
    for _ in range(2):
        given = state
        state, metrics = programs(given, batch)
        told.append(metrics)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given.opt_state) if leaf.size > 1)
    with pytest.raises(KeyError):
        programs(state, {**batch, "images": batch["images"][:, :31]})
    return jax.device_get((state, told))


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["plain", "native"])
def test_a_second_start_traces_nothing_and_every_bit_is_the_same(
    kernels, variables, kept_programs, monkeypatch
):
    if kernels == "native":
        try:
            used = native.load()
        except ConfigError as error:
            pytest.skip(str(error))
    else:
        used = PLAIN
    made = train(used, variables)
    files = sorted(path.name.split("-")[0] for path in kept_programs.iterdir())
    assert files == ["gradients", "update"]

    def trace(*_):
        raise AssertionError("traced")

    jax.clear_caches()
    monkeypatch.setattr(TrainStep, "gradients", trace)
    monkeypatch.setattr(TrainStep, "update", trace)
    read = train(used, variables)
    assert jax.tree.structure(read) == jax.tree.structure(made)
    for before, after in zip(jax.tree.leaves(made), jax.tree.leaves(read), strict=True):
        assert before.dtype == after.dtype
        assert before.tobytes() == after.tobytes()
