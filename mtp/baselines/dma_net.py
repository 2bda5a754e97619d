"""DMA-Net (Lu et al., ICCV 2015): a bag of patches at the picture's own resolution, pooled without an order.

Patches of S x S lie uniformly at random in the picture, mirrored before they are cut; a picture with a shorter side is
enlarged first, isotropically. Every patch goes through the same trunk, global average pooling and a hidden layer, to
z (N, F). The bag's features are of each channel over the N patches either its minimum, maximum, median and mean (the
paper's statistics layer) or its values in ascending order (the sorting layer), and each task has a dense layer on them.

S is the side of input.sizes, all of them squares, with input.order other than native and input.fit=crop; in evaluation
it is that of eval.size=crop=S, the only rule that there is. The paper has S = 224, N = 5 and F = 256.

A single bag is a noisy sample, so an evaluation looks at T = `model.bags` bags of each picture, at places that the
picture's size decides. Logits are the mean of the bags' logits, for every task: this is the logarithm of the geometric
mean of their probabilities, whether these are a softmax or independent ones, and since the last layers are linear it is
the logits of the mean of the bags' features. Without a hidden layer (`model.dense_hidden=0`) these are the features
that train.method=features fits the last layers to.
"""

import dataclasses
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mtp.baselines.layers import TaskLayers, hidden, network, pooled, sow_map
from mtp.baselines.views import check_rule, pixels, side_of, stacked
from mtp.config import Config
from mtp.data.batches.sizes import Shape, at_least, crop
from mtp.data.batches.streams import stream
from mtp.data.batches.views import Arrays, Canvas, Draw, Spec, place
from mtp.models.heads import outputs_of
from mtp.models.layers import BatchStatistics
from mtp.models.model import Inputs, Logits, Model
from mtp.models.trunks import Trunks

Bags = Float[Array, "M N F"]  # features of the N patches of each of M bags


def statistics_of(z: Bags) -> Float[Array, "M G"]:
    """Minimum, maximum, median and mean over the patches, one after the other: G = 4 F."""
    found = jnp.min(z, axis=1), jnp.max(z, axis=1), jnp.median(z, axis=1), jnp.mean(z, axis=1)
    return jnp.concatenate(found, axis=-1)


def in_order(z: Bags) -> Float[Array, "M G"]:
    """Each channel's values in ascending order, all channels of the lowest first: G = N F."""
    return jnp.sort(z, axis=1).reshape(z.shape[0], -1)


# by the names of model.patch_pool
POOLS: Mapping[str, Callable[[Bags], Float[Array, "M G"]]] = {"statistics": statistics_of, "sort": in_order}


class DmaNet(nn.Module):
    """Inputs "patches" (B, P, S, S, 3) uint8 and "sizes" (B, P, 2) -> logits (B, outputs) of each task, float32.

    patches: N of a bag; P is a multiple of it, one bag after the other. pool: of `POOLS`. width: F of the hidden layer,
    0 without one, where F is the trunk's channels.
    Sown as "intermediates": "map" (B, P h, w, C) of all patches one below the other, "map_sizes" (B, 2), and "features"
    (B, G), the bags' mean.
    """

    trunks: Trunks
    outputs: Mapping[str, int]
    patches: int
    pool: str
    width: int

    @nn.compact
    def __call__(self, inputs: Inputs, statistics: BatchStatistics | None = None) -> Logits:
        patches, sizes = inputs["patches"], inputs["sizes"]
        pictures, count = sizes.shape[:2]
        x, map_sizes = self.trunks.map(
            patches.reshape(-1, *patches.shape[2:]), sizes.reshape(-1, 2), statistics
        )
        below = map_sizes.reshape(pictures, count, 2)[:, 0] * jnp.array([count, 1])
        sow_map(self, x.reshape(pictures, -1, *x.shape[2:]), below)
        z = hidden(pooled(x, map_sizes), self.width, "hidden")
        of_bags = POOLS[self.pool](z.reshape(-1, self.patches, z.shape[-1]))
        features = jnp.mean(of_bags.reshape(pictures, count // self.patches, -1), axis=1)
        self.sow("intermediates", "features", features)
        return TaskLayers(self.outputs, name="heads")(features)


@dataclasses.dataclass(frozen=True)
class BagView:
    """ "patches" (P, S, S, 3) uint8 and their "sizes" (P, 2): a bag of them in training, `bags` bags in evaluation."""

    canvas: Canvas
    patches: int
    bags: int

    @property
    def count(self) -> int:
        """P."""
        return self.patches if self.canvas.training else self.patches * self.bags

    def sizes(self, own: np.ndarray) -> np.ndarray:
        return self.canvas.sizes(own)

    def occupied(self, sizes: np.ndarray) -> np.ndarray:
        return stacked(self.canvas, sizes, self.count)

    def spec(self, canvas: Shape) -> dict[str, Spec]:
        side = side_of(canvas)
        return {
            "patches": pixels(self.count, side, side),
            "sizes": Spec((self.count, 2), np.dtype(np.int32)),
        }

    def write(self, slot: Arrays, picture: np.ndarray, size: Shape, draw: Draw | None) -> None:
        # an evaluation draws by the size alone: the same whatever else lies in the batch
        chance = stream(0, "bags", *picture.shape[:2]) if draw is None else draw.generator("bag")
        picture = at_least(self.canvas.augmented(picture, draw), *size)
        for number, (down, across) in enumerate(chance.random((self.count, 2))):
            part = {"images": slot["patches"][number], "sizes": slot["sizes"][number]}
            place(part, crop(picture, *size, (float(down), float(across))), self.canvas.reads)


def build(config: Config, ratings: int, styles: int) -> Model:
    """The network of `config.model` for K ratings and S styles. Errors: ConfigError as `outputs_of` and `Trunks.of`."""
    outputs, trunks = outputs_of(config, ratings, styles), Trunks.of(config)
    patches, bags = config.patches, config.bags

    def view(canvas: Canvas) -> BagView:
        check_rule(canvas, "dma_net")
        return BagView(canvas, patches, bags)

    def example() -> Inputs:
        return {
            "patches": jnp.zeros((1, patches, 63, 63, 3), jnp.uint8),
            "sizes": jnp.full((1, patches, 2), 63, jnp.int32),
        }

    return network(
        DmaNet(trunks, nn.FrozenDict(outputs), patches, config.patch_pool, config.dense_hidden),
        trunks,
        outputs,
        example=example,
        view=view,
        others=("hidden", "heads"),
        linear=config.dense_hidden == 0,
    )
