"""NASNet-A's two cells as tables of operations (Zoph et al. 2018, Fig. 4), and the module that runs them."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtp.models.layers import BatchNorm, BatchStatistics, ConvNorm, Projection, SeparableConv
from mtp.models.pools import AveragePool, FactorisedReduction, StridedAveragePool
from mtp.ops.canvas import Sizes, halved_sizes
from mtp.ops.pooling import strided_max_pool

Map = Float[Array, "B H W C"]
Skip = Float[Array, "B H2 W2 C2"]  # of the cell before: one level larger or not, other channels
Adjusted = Float[Array, "B H W _"]  # a cell's input of its own size
Output = Float[Array, "B h w F"]


class Separable(NamedTuple):
    """ReLU, separable convolution, batch norm, twice; only the first may have stride 2."""

    source: str
    window: int
    name: str
    stride: int = 1


class Average(NamedTuple):
    source: str


class StridedAverage(NamedTuple):
    source: str


class StridedMax(NamedTuple):
    source: str


class Identity(NamedTuple):
    source: str


Operation = Separable | Average | StridedAverage | StridedMax | Identity


class CellTable(NamedTuple):
    """Sums of two operations, in order; "h" is the cell's input, "p" its skip input, both adjusted."""

    kind: str
    sums: dict[str, tuple[Operation, Operation]]
    outputs: tuple[str, ...]


NORMAL = CellTable(
    "normal",
    {
        "x1": (Separable("h", 5, "normal_left1"), Separable("p", 3, "normal_right1")),
        "x2": (Separable("p", 5, "normal_left2"), Separable("p", 3, "normal_right2")),
        "x3": (Average("h"), Identity("p")),
        "x4": (Average("p"), Average("p")),
        "x5": (Separable("h", 3, "normal_left5"), Identity("h")),
    },
    ("p", "x1", "x2", "x3", "x4", "x5"),
)
REDUCTION = CellTable(
    "reduction",
    {
        "x1": (Separable("h", 5, "reduction_left1", 2), Separable("p", 7, "reduction_right1", 2)),
        "x2": (StridedMax("h"), Separable("p", 7, "reduction_right2", 2)),
        "x3": (StridedAverage("h"), Separable("p", 5, "reduction_right3", 2)),
        "x4": (Identity("x2"), Average("x1")),
        "x5": (Separable("x1", 3, "reduction_left4"), StridedMax("h")),
    },
    ("x2", "x3", "x4", "x5"),
)


class Cell(nn.Module):
    """One cell: maps of x and of the skip input p to the concatenation of the table's outputs.

    adjust: what p needs first: "none", "project" (to the cell's channels), or "reduce" (p is one level larger:
        the factorised reduction). Chosen by the cell's place in the network, never by the size of a map.
    """

    table: CellTable
    features: int
    block: str
    adjust: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Map, p: Skip, sizes: Sizes, p_sizes: Sizes, statistics: BatchStatistics | None
    ) -> Output:
        kind = self.table.kind
        project = self._projection(x.shape[-1], f"{kind}_conv_1", f"{kind}_bn_1")
        maps = {"h": project(x, sizes, statistics), "p": self._adjusted(p, sizes, p_sizes, statistics)}
        return self.combined(maps, sizes, statistics)

    def combined(self, maps: dict[str, Adjusted], sizes: Sizes, statistics: BatchStatistics | None) -> Output:
        """The table's outputs from the adjusted inputs "h" and "p", both of `sizes`."""
        maps, levels = dict(maps), dict.fromkeys(maps, sizes)
        for name, operations in self.table.sums.items():
            first, second = (
                self._result(o, maps[o.source], levels[o.source], statistics) for o in operations
            )
            maps[name], levels[name] = second + first, self.out_sizes(sizes)
        return jnp.concatenate([maps[name] for name in self.table.outputs], axis=-1)

    @nn.nowrap
    def out_sizes(self, sizes: Sizes) -> Sizes:
        """The pictures' sizes after it: only a reduction's sums are smaller than its inputs."""
        return halved_sizes(sizes) if self.table.kind == "reduction" else sizes

    @nn.nowrap
    def separable(self, operation: Separable, channels: int) -> tuple[ConvNorm, ConvNorm]:
        """The two layers of a separable convolution of so many channels."""
        layers = []
        for i, of, stride in ((1, channels, operation.stride), (2, self.features, 1)):
            name = self._name(f"separable_conv_{i}_{operation.name}")
            conv = SeparableConv(of, operation.window, stride, self.dtype, features=self.features, name=name)
            layers.append(ConvNorm(conv, self._norm(f"separable_conv_{i}_bn_{operation.name}")))
        return layers[0], layers[1]

    @nn.nowrap
    def _name(self, layer: str) -> str:
        return f"{layer}_{self.block}"

    @nn.nowrap
    def _norm(self, name: str) -> BatchNorm:
        return BatchNorm(self.features, name=self._name(name))

    @nn.nowrap
    def _projection(self, channels: int, name: str, norm: str) -> ConvNorm:
        conv = Projection(channels, self.features, dtype=self.dtype, name=self._name(name))
        return ConvNorm(conv, self._norm(norm))

    def _adjusted(self, p: Skip, sizes: Sizes, p_sizes: Sizes, statistics: BatchStatistics | None) -> Output:
        channels, half = p.shape[-1], self.features // 2
        match self.adjust:
            case "none":
                return p
            case "project":
                project = self._projection(channels, "adjust_conv_projection", "adjust_bn")
                return project(p, sizes, statistics)
        first, second = (
            Projection(channels, half, dtype=self.dtype, name=self._name(f"adjust_conv_{i}")) for i in (1, 2)
        )
        reduce = FactorisedReduction((first, second), self._norm("adjust_bn"))
        return reduce(p, p_sizes, statistics)

    def _result(
        self, operation: Operation, x: Map, sizes: Sizes, statistics: BatchStatistics | None
    ) -> Output:
        match operation:
            case Separable():
                first, second = self.separable(operation, x.shape[-1])
                x = first(x, sizes, statistics)
                return second(x, first.conv.out_sizes(sizes), statistics)
            case Average():
                return AveragePool()(x, sizes)
            case StridedAverage():
                return StridedAveragePool()(x, sizes)
            case StridedMax():
                return strided_max_pool(x, sizes)
            case Identity():
                return x
