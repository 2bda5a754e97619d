"""The whole model: options, tasks, trunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.config import get_config
from mtp.models import mtp_nasnet


def model(ratings=10, styles=14, **options):
    config = get_config().model
    config.update({"backbone": "tiny", "fcn_hidden": 16, **options})
    return mtp_nasnet.build(config, ratings, styles)


def shapes(built):
    images = jax.ShapeDtypeStruct((2, 65, 97, 3), jnp.uint8)
    sizes = jax.ShapeDtypeStruct((2, 2), jnp.int32)
    variables = jax.eval_shape(built.init, jax.random.key(0), images, sizes)
    return variables, jax.eval_shape(built.apply, variables, images, sizes)


@pytest.mark.parametrize(
    "options",
    [{}, {"columns": ("gap",)}, {"columns": ("fcn",)}, {"columns": ("spp",)}, {"trunks": 2}, {"heads": "cascade"},
     {"fcn_average": "softmax"}, {"spp_pool": "average"}, {"fcn_hidden": 0}, {"dtype": "bfloat16"}, {"remat": True}],
    ids=str,
)  # fmt: skip
def test_every_option_gives_float32_logits_of_each_task(options):
    variables, logits = shapes(model(**options))
    assert {task: (x.shape, x.dtype) for task, x in logits.items()} == {
        "distribution": ((2, 10), jnp.float32),
        "two_category": ((2, 2), jnp.float32),
        "style": ((2, 14), jnp.float32),
    }
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_a_second_trunk_has_its_own_weights():
    one, two = (shapes(model(trunks=n))[0]["params"] for n in (1, 2))
    assert set(one) == {"backbone", "heads"}
    assert set(two) == {"backbone", "backbone_spp", "heads"}


def test_tasks_are_a_subset_and_without_styles_there_is_no_style_head():
    _, logits = shapes(model(tasks=("distribution",)))
    assert set(logits) == {"distribution"}
    _, logits = shapes(model(ratings=7, styles=0))
    assert {t: x.shape[1] for t, x in logits.items()} == {"distribution": 7, "two_category": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "huge"}, r"model\.backbone must be one of mobile, large, tiny"),
        ({"columns": ("fcn", "top")}, r"model\.columns must be one or more of gap, fcn, spp"),
        ({"columns": ()}, r"model\.columns"),
        ({"tasks": ("style",)}, r"model\.tasks must contain distribution"),
        ({"trunks": 3}, r"model\.trunks must be 1, or 2"),
        ({"heads": "serial"}, r"model\.heads must be"),
    ],
)
def test_unknown_values_are_errors_that_name_the_known_ones(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)


def test_probabilities():
    logits = {
        "distribution": jnp.zeros((1, 4)),
        "two_category": jnp.array([[0.0, np.log(3.0)]]),
        "style": jnp.array([[0.0, np.log(3.0)]]),
    }
    exclusive, several = (mtp_nasnet.probabilities(logits, kind) for kind in ("softmax", "sigmoid"))
    np.testing.assert_allclose(exclusive["distribution"], 0.25)
    np.testing.assert_allclose(exclusive["p_high"], 0.75)
    np.testing.assert_allclose(exclusive["style"], [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(several["style"], [[0.5, 0.75]], rtol=1e-6)
