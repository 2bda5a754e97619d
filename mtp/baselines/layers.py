"""What the baselines' networks have in common: hidden features, a dense layer a task, and the record around them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.models import heads
from mtp.models.heads import dense_layers
from mtp.models.model import Inputs, LastLayers, Logits, Model, Variables
from mtp.models.trunks import FIRST, Trunks
from mtp.ops.canvas import Sizes
from mtp.ops.pyramid import global_average

Features = Float[Array, "B F"]


class TaskLayers(nn.Module):
    """Features (B, F) -> logits of each task, a dense layer each."""

    outputs: Mapping[str, int]

    @nn.compact
    def __call__(self, features: Features) -> Logits:
        return dense_layers(features, self.outputs)


def hidden(x: Float[Array, "B C"], width: int, name: str) -> Features:
    """A dense layer and ReLU; of width 0 x as it is. To be called inside a module, whose parameters they join."""
    if not width:
        return x
    return jax.nn.relu(nn.Dense(width, kernel_init=nn.initializers.he_normal(), name=name)(x))


def pooled(x: Float[Array, "B H W C"], sizes: Sizes) -> Float[Array, "B C"]:
    """Global average pooling over the valid cells, float32."""
    return global_average(x.astype(jnp.float32), sizes)


def sow_map(module: nn.Module, x: Float[Array, "B H W C"], sizes: Sizes) -> None:
    """The last map among the network's details, as `Predictor.features` and `Predictor.details` read it."""
    module.sow("intermediates", "map", x)
    module.sow("intermediates", "map_sizes", sizes)


def network(
    module: nn.Module,
    trunks: Trunks,
    outputs: Mapping[str, int],
    *,
    example: Callable[[], Inputs],
    view: Callable[[Any], Any],
    sets: Sequence[str] = FIRST,
    others: Sequence[str] = ("heads",),
    linear: bool = False,
) -> Model:
    """The record of a baseline.

    sets: of trunks. others: the other parameter trees at the top, with the tasks' last layers in "heads". linear: the
    logits are these layers on what the module sows as "features".
    """

    def begin(params: Any, histogram: Sequence[float]) -> Any:
        return {**params, **heads.starting_at({"heads": params["heads"]}, histogram)}

    return Model(
        module=module,
        outputs=outputs,
        example=example,
        groups=dict.fromkeys(others, "heads") | trunks.groups(sets),
        min_side=trunks.min_side,
        reads=trunks.reads,
        view=view,
        begin=begin,
        load=lambda variables, weights: trunks.load(variables, weights, sets),
        last_layers=_last_layers(module, outputs) if linear else None,
    )


def _last_layers(module: nn.Module, outputs: Mapping[str, int]) -> LastLayers:
    def features(variables: Variables, inputs: Inputs) -> Any:
        sown: Any = module.apply(variables, inputs, None, mutable=["intermediates"])[1]
        return sown["intermediates"]["features"][0]

    def logits(params: Any, features: Any) -> Logits:
        dense = params["heads"]
        return {task: features @ dense[task]["kernel"] + dense[task]["bias"] for task in outputs}

    def replaced(params: Any, layers: Mapping[str, tuple[Any, Any]]) -> Any:
        dense = {
            task: {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
            for task, (kernel, bias) in layers.items()
        }
        return {**params, "heads": dense}

    return LastLayers(features, logits, replaced)
