"""MNA-CNN (Mai et al., CVPR 2016): pictures at their own size, their layout kept by grids of max pooling.

The last map is pooled to p x p cells, each the maximum over its part of the map (adaptive max pooling), for each p of
`model.grids`: parts are those of `mtp.ops.pyramid`, of which none is empty. Each grid is a sub-network of its own on
one trunk: its cells one after the other, a hidden layer, a dense layer a task. The paper is reported with
4,096 hidden features and grids of 12, 9, 6, 4 and 2 on a map of stride 16; on a map of stride 32 the default is about
half of them.

`model.combine` joins the sub-networks late:

- mean: the mean of their probabilities, as its logarithm. For the task style, whose probabilities may be a softmax or
  independent ones, the mean of the logits.
- scene: each task's probabilities of all sub-networks (of styles the sigmoids) and a posterior of scenes are the inputs
  of one more dense layer. The paper's posterior is that of a network trained on scenes. Here it is a softmax of
  `model.scenes` outputs of a dense layer on the map's average which no scene label trains: it is a gate that learns
  from the tasks' labels alone, and its outputs need not be scenes.

It takes pictures on canvases at any size; the paper's are input.order=native and eval.size=native.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.baselines.layers import hidden, network, pooled, sow_map
from mtp.config import Config
from mtp.models import heads
from mtp.models.heads import SMALL, dense_layers, outputs_of
from mtp.models.layers import BatchStatistics
from mtp.models.model import Inputs, Logits, Model, example_canvas, same_view
from mtp.models.trunks import Trunks
from mtp.ops.canvas import Sizes
from mtp.ops.pyramid import spatial_pyramid
from mtp.tasks import TASKS

Map = Float[Array, "B H W C"]


class SubNet(nn.Module):
    """A map and its sizes -> logits of each task: grid x grid cells of maxima, a hidden layer, a dense layer a task."""

    outputs: Mapping[str, int]
    grid: int
    width: int

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Logits:
        cells = spatial_pyramid(x, sizes, (self.grid,), "max")
        return dense_layers(hidden(cells, self.width, "hidden"), self.outputs)


class SubNets(nn.Module):
    """A map and its sizes -> the sub-networks' logits of each task, combined.

    scenes: outputs of the posterior; 0: the mean of the probabilities.
    """

    outputs: Mapping[str, int]
    grids: tuple[int, ...]
    width: int
    scenes: int

    @nn.compact
    def __call__(self, x: Map, sizes: Sizes) -> Logits:
        x = x.astype(jnp.float32)
        found = [SubNet(self.outputs, grid, self.width, name=f"grid_{grid}")(x, sizes) for grid in self.grids]
        if not self.scenes:
            return {task: mean(task, [logits[task] for logits in found]) for task in self.outputs}
        scenes = jax.nn.softmax(nn.Dense(self.scenes, name="scenes")(pooled(x, sizes)))
        inputs = {
            task: jnp.concatenate([*(bounded(task, logits[task]) for logits in found), scenes], axis=-1)
            for task in self.outputs
        }
        return Combined(self.outputs, name="combined")(inputs)


class Combined(nn.Module):
    """Inputs of each task (B, F of the task) -> its logits, a dense layer each."""

    outputs: Mapping[str, int]

    @nn.compact
    def __call__(self, inputs: Logits) -> Logits:
        return {
            task: nn.Dense(n, kernel_init=SMALL, name=task)(inputs[task]) for task, n in self.outputs.items()
        }


def mean(task: str, logits: Sequence[Float[Array, "B n"]]) -> Float[Array, "B n"]:
    """The logarithm of the sub-networks' mean probabilities; of styles the mean of the logits."""
    if TASKS[task].kind == "styles":
        return jnp.mean(jnp.stack(logits), axis=0)
    each = jnp.stack([jax.nn.log_softmax(one) for one in logits])
    return jax.nn.logsumexp(each, axis=0) - math.log(len(logits))


def bounded(task: str, logits: Float[Array, "B n"]) -> Float[Array, "B n"]:
    """Probabilities of a sub-network; of styles, which may exclude one another or not, the sigmoids."""
    return jax.nn.sigmoid(logits) if TASKS[task].kind == "styles" else jax.nn.softmax(logits)


class MnaCnn(nn.Module):
    """Inputs "images", uint8 canvases (B, H, W, 3), and "sizes" (B, 2) -> logits (B, outputs) of each task, float32.

    Sown as "intermediates": "map" and "map_sizes".
    """

    trunks: Trunks
    outputs: Mapping[str, int]
    grids: tuple[int, ...]
    width: int
    scenes: int = 0

    @nn.compact
    def __call__(self, inputs: Inputs, statistics: BatchStatistics | None = None) -> Logits:
        x, sizes = self.trunks.map(inputs["images"], inputs["sizes"], statistics)
        sow_map(self, x, sizes)
        return SubNets(self.outputs, self.grids, self.width, self.scenes, name="heads")(x, sizes)


def build(config: Config, ratings: int, styles: int) -> Model:
    """The network of `config.model` for K ratings and S styles. Errors: ConfigError as `outputs_of` and `Trunks.of`."""
    outputs, trunks = outputs_of(config, ratings, styles), Trunks.of(config)
    scenes = config.scenes if config.combine == "scene" else 0
    model = network(
        MnaCnn(trunks, nn.FrozenDict(outputs), tuple(config.grids), config.dense_hidden, scenes),
        trunks,
        outputs,
        example=example_canvas,
        view=same_view,
    )

    def begin(params: Any, histogram: Sequence[float]) -> Any:
        return {**params, "heads": heads.starting_at(params["heads"], histogram)}

    return dataclasses.replace(model, begin=begin)
