"""What training and inference know of a network, whatever it looks like inside."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mtp.config import ConfigError
from mtp.models.initialising import without_maps
from mtp.models.layers import BatchStatistics

Inputs = Mapping[str, Array]  # the arrays of a batch, (B, ...) each, which a view fills
Logits = dict[str, Float[Array, "B _"]]  # by task
Variables = Mapping[str, Any]  # "params" and "batch_stats"
PictureSizes = Int[np.ndarray, "N 2"]


def every_line(sizes: PictureSizes) -> PictureSizes:
    """Of a network that reads its pictures to the last line."""
    return sizes


def same_view(canvas: Any) -> Any:
    """Of a network that takes pictures on canvases."""
    return canvas


def as_initialised(params: Any, histogram: Sequence[float]) -> Any:
    """Of a network that begins wherever its seed puts it."""
    return params


class LastLayers(NamedTuple):
    """Of a network whose logits are one dense layer a task on features of a picture.

    features: (variables, inputs) -> (B, F), under running statistics. logits: (parameters, features) -> logits.
    replaced: (parameters, task -> kernel (F, n) and bias (n,)) -> parameters with these layers.
    """

    features: Callable[[Variables, Inputs], Float[Array, "B F"]]
    logits: Callable[[Any, Float[Array, "B F"]], Logits]
    replaced: Callable[[Any, Mapping[str, tuple[Any, Any]]], Any]


def no_published_weights(variables: Variables, weights: str) -> Variables:
    """Of a network for which there are none. Errors: ConfigError."""
    raise ConfigError(f"this network has no published weights; model.weights must be '', not {weights!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network with the few functions that the rest of the package calls.

    module: (inputs, statistics) -> logits of each task in `outputs`, float32; statistics as in `BatchStatistics`, None
        for the running ones. What it sows as "intermediates" is for `details`.
    outputs: number of logits of each task.
    example: inputs of a batch of one, of any size that it takes; no parameter's shape depends on it.
    groups: group of the optimiser, "trunk" or "heads", of each parameter tree at the top.
    min_side: pixels; no side of a picture may be shorter.
    reads: sizes (N, 2) of pictures -> the part, from the top-left corner, whose lines it reads at all.
    view: the view of pictures on canvases that the options ask for -> the view that fills its inputs.
    begin: (parameters, histogram (K,)) -> parameters whose distribution begins there for every picture.
    load: (variables, model.weights) -> variables with published weights in place of a seed's.
    last_layers: None where the logits are not linear in features of a picture.
    """

    module: nn.Module
    outputs: Mapping[str, int]
    example: Callable[[], Inputs]
    groups: Mapping[str, str]
    min_side: int = 1
    reads: Callable[[PictureSizes], PictureSizes] = every_line
    view: Callable[[Any], Any] = same_view
    begin: Callable[[Any, Sequence[float]], Any] = as_initialised
    load: Callable[[Variables, str], Variables] = no_published_weights
    last_layers: LastLayers | None = None

    def init(self, seed: int | Int[Array, ""]) -> dict[str, Any]:
        """Initial parameters and batch statistics."""
        # "rbg" compiles in seconds where the default generator takes half a minute for some hundred arrays
        key = jax.random.key(seed, impl="rbg")
        with nn.intercept_methods(without_maps):
            variables = self.module.init(key, self.example())
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def logits(
        self, variables: Variables, inputs: Inputs, statistics: BatchStatistics | None = None
    ) -> tuple[Logits, Any]:
        """Logits of each task, and the batch statistics after this batch (the same ones where statistics is None)."""
        logits, changed = self.module.apply(variables, inputs, statistics, mutable=["batch_stats"])
        return logits, dict(changed).get("batch_stats", {})

    def details(self, variables: Variables, inputs: Inputs) -> dict[str, Any]:
        """What the network sows on its way, by module and name (see its module)."""
        sown: Any = self.module.apply(variables, inputs, None, mutable=["intermediates"])[1]
        return _first_values(sown.get("intermediates", {}))

    def group_of_parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The optimiser's group of every parameter, in the same tree."""
        return {name: _filled(tree, self.groups[name]) for name, tree in params.items()}


def _filled(tree: Any, value: str) -> Any:
    return jax.tree.map(lambda _: value, tree)


def _first_values(sown: Mapping[str, Any]) -> dict[str, Any]:
    """Flax keeps a tuple of every value that was sown under a name."""
    return {name: _first_values(v) if isinstance(v, Mapping) else v[0] for name, v in sown.items()}


def example_canvas() -> Inputs:
    """A canvas of one picture of 63x63."""
    return {"images": jnp.zeros((1, 63, 63, 3), jnp.uint8), "sizes": jnp.full((1, 2), 63, jnp.int32)}
