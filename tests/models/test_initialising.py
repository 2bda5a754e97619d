"""Initialising without the maps: the very variables that computing them gives, and fewer operations."""

import jax
import numpy as np
import pytest

from mtp.config import get_config
from mtp.models import mtp_nasnet
from mtp.models.backbones import BACKBONES
from tests.runs import SMALL

# adjusted skips of all kinds, each column, trunks of their own
CASES = (
    {"backbone": "tiny", "columns": ("gap", "fcn", "spp"), "trunks": 3},
    {"backbone": "mobile", "columns": ("fcn", "spp"), "dtype": "bfloat16"},
    {"backbone": "large", "columns": ("gap",), "remat": True},
)


def built(**options):
    config = get_config().model
    config.update(options)
    return mtp_nasnet.build(config, 7, 3)


def computing_its_maps(model, seed):
    variables = model.module.init(jax.random.key(seed, impl="rbg"), model.example())
    return {"params": variables["params"], "batch_stats": variables["batch_stats"]}


@pytest.mark.parametrize("options", CASES, ids=lambda options: options["backbone"])
def test_the_variables_are_those_of_computing_the_maps(options):
    model = built(**options)
    assert jax.eval_shape(model.init, 0) == jax.eval_shape(lambda seed: computing_its_maps(model, seed), 0)


def test_the_values_are_the_same_and_the_operations_fewer(monkeypatch):
    monkeypatch.setitem(BACKBONES, "small", SMALL)
    model = built(backbone="small", columns=("gap",))
    whole, part = (
        jax.jit(function).trace(3) for function in (lambda seed: computing_its_maps(model, seed), model.init)
    )
    assert len(part.jaxpr.eqns) < len(whole.jaxpr.eqns)
    found, expected = (traced.lower().compile()(3) for traced in (part, whole))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
