"""Two baselines that are MTP-NasNet by its options: the fully convolutional one, and one with a trunk for scenes."""

import jax
import jax.numpy as jnp
import numpy as np

from mtp.models.backbones import BACKBONES
from tests.baselines.networks import build, once, picture, random_variables

FCN = {"columns": ("fcn",), "fcn_hidden": 6}
TWO = ("small", "small")


def canvas(sides=((33, 47), (48, 64))):
    """Pictures in the bottom-right corners."""
    images, sizes = np.zeros((2, 65, 65, 3), np.uint8), np.zeros((2, 2), np.int32)
    for i, (h, w) in enumerate(sides):
        h, w = (side - (side % 2 == 0) for side in (h, w))
        images[i, 65 - h :, 65 - w :], sizes[i] = picture(h, w, i), (h, w)
    return {"images": jnp.asarray(images), "sizes": jnp.asarray(sizes)}


def test_one_backbone_may_be_named_twice():
    model = build("mtp_nasnet", **{**FCN, "backbone": TWO})
    params = once(model.init)(0)["params"]
    assert set(params) == {"backbone_1", "backbone_2", "heads"}
    assert not np.allclose(params["backbone_1"]["stem"]["kernel"], params["backbone_2"]["stem"]["kernel"])
    real = jax.eval_shape(build("mtp_nasnet", **{**FCN, "backbone": ("tiny", "tiny")}).init, 0)["params"]
    assert real["heads"]["fcn"]["hidden"]["kernel"].shape == (1, 1, 2 * BACKBONES["tiny"].channels, 6)


def test_without_the_scene_half_of_the_fusion_it_is_the_fully_convolutional_network():
    both, one = build("mtp_nasnet", **{**FCN, "backbone": TWO}), build("mtp_nasnet", **FCN)
    variables, inputs = random_variables(both), canvas()
    params, stats = variables["params"], variables["batch_stats"]
    fcn = params["heads"]["fcn"]
    kernel = fcn["hidden"]["kernel"]
    blind = {**fcn, "hidden": {**fcn["hidden"], "kernel": kernel * (np.arange(24) < 12)[None, None, :, None]}}
    alone = {**fcn, "hidden": {**fcn["hidden"], "kernel": kernel[:, :, :12]}}
    whole, _ = once(both.logits)(
        {"params": {**params, "heads": {"fcn": blind}}, "batch_stats": stats}, inputs
    )
    objects, _ = once(one.logits)(
        {
            "params": {"backbone": params["backbone_1"], "heads": {"fcn": alone}},
            "batch_stats": {"backbone": stats["backbone_1"]},
        },
        inputs,
    )
    for task in whole:
        np.testing.assert_allclose(whole[task], objects[task], rtol=1e-5, atol=1e-5)
    seeing, _ = once(both.logits)(variables, inputs)
    assert not np.allclose(seeing["distribution"], whole["distribution"], atol=1e-3)
