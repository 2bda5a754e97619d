"""RAPID's double-column network (Lu et al., ACM MM 2014; TMM 2015): the whole picture and a part of it.

The global view is the picture brought to a square of side S by input.fit (the paper: warp; its other ones are crop and
pad): in training through a random window of S in a square of 8/7 S. The local view is a window of S x S of the picture
as it is, anywhere in training and in the middle in evaluation. Each column is a trunk, global average pooling and a
hidden layer, with weights of its own or the other column's (`model.share_columns`); each task has a dense layer on both
columns' features.

The style column (`model.style_column`; RDCNN of the paper) is one more trunk and hidden layer on the global view. Its
features join those of the columns, and they alone give the style logits. joint: it learns from every task; frozen: the
gradients of the other tasks stop before it, so that the style labels alone train it. The paper trains it first and then
keeps it; here both happen at once.

S is the side of input.sizes, all of them squares, with input.order other than native; in evaluation it is that of
eval.size=warp=S, or crop=S or pad=S for another global view.
"""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mtp.baselines.layers import TaskLayers, hidden, network, pooled, sow_map
from mtp.baselines.views import SIZES, anywhere, check_rule, fitted, pixels, side_of, stacked
from mtp.config import Config, ConfigError
from mtp.data.batches.sizes import MIDDLE, Shape, crop
from mtp.data.batches.views import Arrays, Canvas, Draw, Spec, place
from mtp.models.heads import outputs_of
from mtp.models.layers import BatchStatistics
from mtp.models.model import Inputs, Logits, Model, example_canvas
from mtp.models.trunks import Trunks

LOCAL, STYLE = "_local", "_style"  # sets of trunks; the global column's is the first one


class Dcnn(nn.Module):
    """Inputs "images" and "local" (B, S, S, 3) uint8 and their "sizes" (B, 2) -> logits (B, outputs) of each task,
    float32.

    width: of the hidden layers, 0 without. style_column: "none", "joint" or "frozen".
    Sown as "intermediates": "map" and "map_sizes" of the global column, and "features" (B, F) of all columns.
    """

    trunks: Trunks
    outputs: Mapping[str, int]
    width: int
    share_columns: bool = False
    style_column: str = "none"

    @nn.compact
    def __call__(self, inputs: Inputs, statistics: BatchStatistics | None = None) -> Logits:
        features = (
            self._of_shared(inputs, statistics) if self.share_columns else self._of_own(inputs, statistics)
        )
        if self.style_column == "none":
            self.sow("intermediates", "features", features)
            return TaskLayers(self.outputs, name="heads")(features)
        x, sizes = self.trunks.map(inputs["images"], inputs["sizes"], statistics, STYLE)
        style = hidden(pooled(x, sizes), self.width, "hidden_style")
        joins = lax.stop_gradient(style) if self.style_column == "frozen" else style
        features = jnp.concatenate([features, joins], axis=-1)
        self.sow("intermediates", "features", features)
        others = {task: n for task, n in self.outputs.items() if task != "style"}
        of_style = TaskLayers({"style": self.outputs["style"]}, name="heads_style")(style)
        logits = TaskLayers(others, name="heads")(features) | of_style
        return {task: logits[task] for task in self.outputs}

    def _of_own(self, inputs: Inputs, statistics: BatchStatistics | None) -> Float[Array, "B F"]:
        """Features of two columns with weights of their own."""
        columns = []
        for of, view in (("", "images"), (LOCAL, "local")):
            x, sizes = self.trunks.map(inputs[view], inputs["sizes"], statistics, of)
            if view == "images":
                sow_map(self, x, sizes)
            columns.append(hidden(pooled(x, sizes), self.width, f"hidden{of}"))
        return jnp.concatenate(columns, axis=-1)

    def _of_shared(self, inputs: Inputs, statistics: BatchStatistics | None) -> Float[Array, "B F"]:
        """Features of the one column of both views, which see it as one batch: its statistics move once a step."""
        views = jnp.concatenate([inputs["images"], inputs["local"]])
        x, sizes = self.trunks.map(views, jnp.tile(inputs["sizes"], (2, 1)), statistics)
        pictures = inputs["sizes"].shape[0]
        sow_map(self, x[:pictures], sizes[:pictures])
        both = hidden(pooled(x, sizes), self.width, "hidden")
        return jnp.concatenate([both[:pictures], both[pictures:]], axis=-1)


@dataclasses.dataclass(frozen=True)
class GlobalAndLocal:
    """ "images" (S, S, 3), the picture in a square, "local" (S, S, 3), a window of it, and the "sizes" (2,) of both."""

    canvas: Canvas

    def sizes(self, own: np.ndarray) -> np.ndarray:
        return self.canvas.sizes(own)

    def occupied(self, sizes: np.ndarray) -> np.ndarray:
        return stacked(self.canvas, sizes, 2)

    def spec(self, canvas: Shape) -> dict[str, Spec]:
        square = pixels(side_of(canvas), side_of(canvas))
        return {"images": square, "local": square, "sizes": SIZES}

    def write(self, slot: Arrays, picture: np.ndarray, size: Shape, draw: Draw | None) -> None:
        picture, reads = self.canvas.augmented(picture, draw), self.canvas.reads
        place(slot, fitted(self.canvas, picture, size, draw), reads)
        where = MIDDLE if draw is None else anywhere(draw, "local")
        place({"images": slot["local"], "sizes": slot["sizes"]}, crop(picture, *size, where), reads)


def build(config: Config, ratings: int, styles: int) -> Model:
    """The network of `config.model` for K ratings and S styles.

    Errors: ConfigError as `outputs_of` and `Trunks.of`, and where the style column has no style to learn or nothing to
    join.
    """
    outputs, trunks = outputs_of(config, ratings, styles), Trunks.of(config)
    styled = config.style_column != "none"
    if styled and ("style" not in outputs or len(outputs) == 1):
        raise ConfigError(
            f"model.style_column={config.style_column} needs the task style, data with styles, and another task; what "
            f"can be trained here is {', '.join(outputs)}: set model.style_column=none, or model.tasks otherwise"
        )

    def view(canvas: Canvas) -> GlobalAndLocal:
        check_rule(canvas, "dcnn")
        return GlobalAndLocal(canvas)

    local, style = ([] if config.share_columns else [LOCAL]), ([STYLE] if styled else [])
    return network(
        Dcnn(trunks, nn.FrozenDict(outputs), config.dense_hidden, config.share_columns, config.style_column),
        trunks,
        outputs,
        example=lambda: {**example_canvas(), "local": jnp.zeros((1, 63, 63, 3), jnp.uint8)},
        view=view,
        sets=("", *local, *style),
        others=("heads", "heads_style", "hidden", f"hidden{LOCAL}", f"hidden{STYLE}"),
        linear=config.dense_hidden == 0 and not styled,
    )
