"""NIMA (Talebi and Milanfar 2018): the picture warped to a square, global average pooling, dropout, a dense layer.

Its essential parts are the histogram as output and the earth mover's distance as loss (`mtp.tasks.losses.emd`); here it
has the other tasks too. In training the picture is brought to 8/7 of the batch's size (256 for 224) and seen through a
random window of that size; in evaluation it is brought to the size itself. The paper's set-up is
input.sizes=((224, 224),), input.fit=warp and eval.size=warp=224. Every size rule can be evaluated, since global average
pooling takes any size.

Dropout of the C pooled features is part of the inputs and not of the step, so that a batch stays a pure function of the
seed and the step: the view gives each slot factors of 0 (with probability `model.dropout`) or 1 / (1 - dropout) in
training, and ones in evaluation.
"""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from mtp.baselines.layers import TaskLayers, network, pooled, sow_map
from mtp.baselines.views import fitted
from mtp.config import Config
from mtp.data.batches.sizes import Shape
from mtp.data.batches.views import Arrays, Canvas, Draw, Spec, place
from mtp.models.heads import outputs_of
from mtp.models.layers import BatchStatistics
from mtp.models.model import Inputs, Logits, Model, example_canvas
from mtp.models.trunks import Trunks


class Nima(nn.Module):
    """Inputs "images" (B, H, W, 3), "sizes" (B, 2) and "dropout" (B, C) -> logits (B, outputs) of each task, float32.

    Sown as "intermediates": "map", "map_sizes", and "features" (B, C) as the last layers see them.
    """

    trunks: Trunks
    outputs: Mapping[str, int]

    @nn.compact
    def __call__(self, inputs: Inputs, statistics: BatchStatistics | None = None) -> Logits:
        x, sizes = self.trunks.map(inputs["images"], inputs["sizes"], statistics)
        sow_map(self, x, sizes)
        features = pooled(x, sizes) * inputs["dropout"]
        self.sow("intermediates", "features", features)
        return TaskLayers(self.outputs, name="heads")(features)


@dataclasses.dataclass(frozen=True)
class NimaView:
    """A canvas whose picture is seen through a random window in training, and "dropout" (C,) float32.

    channels: C. rate: probability with which a feature is dropped in training.
    """

    canvas: Canvas
    channels: int
    rate: float

    def sizes(self, own: np.ndarray) -> np.ndarray:
        return self.canvas.sizes(own)

    def occupied(self, sizes: np.ndarray) -> np.ndarray:
        return self.canvas.occupied(sizes)

    def spec(self, canvas: Shape) -> dict[str, Spec]:
        return {**self.canvas.spec(canvas), "dropout": Spec((self.channels,), np.dtype(np.float32))}

    def write(self, slot: Arrays, picture: np.ndarray, size: Shape, draw: Draw | None) -> None:
        seen = fitted(self.canvas, picture, size, draw)
        place(slot, self.canvas.augmented(seen, draw), self.canvas.reads)
        slot["dropout"][:] = 1 if draw is None else self._factors(draw)

    def _factors(self, draw: Draw) -> np.ndarray:
        kept = draw.generator("dropout").random(self.channels) >= self.rate
        return kept / (1 - self.rate)


def build(config: Config, ratings: int, styles: int) -> Model:
    """The network of `config.model` for K ratings and S styles. Errors: ConfigError as `outputs_of` and `Trunks.of`."""
    outputs, trunks = outputs_of(config, ratings, styles), Trunks.of(config)
    channels, rate = trunks.channels, config.dropout
    return network(
        Nima(trunks, nn.FrozenDict(outputs)),
        trunks,
        outputs,
        example=lambda: {**example_canvas(), "dropout": jnp.ones((1, channels))},
        view=lambda canvas: NimaView(canvas, channels, rate),
        linear=True,
    )
