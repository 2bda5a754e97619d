"""NASNet-A's two cells as tables of operations (Zoph et al. 2018, Fig. 4), and the module that runs them."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp.models.layers import BatchNorm, BatchStatistics, Projection, SeparableConv, normalised
from mtp.ops.canvas import Sizes, halved_sizes
from mtp.ops.inference import Sum
from mtp.ops.kernels import PLAIN, Kernels
from mtp.ops.pooling import average_pool, strided_average_pool, strided_max_pool

Map = Float[Array, "B H W C"]
Skip = Float[Array, "B H2 W2 C2"]  # of the cell before: one level larger or not, other channels
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
    dtype: Any = jnp.float32
    kernels: Kernels = PLAIN

    @nn.compact
    def __call__(
        self, x: Map, p: Skip, sizes: Sizes, p_sizes: Sizes, statistics: BatchStatistics | None
    ) -> Output:
        kind = self.table.kind
        maps = {
            "h": self._projected(x, f"{kind}_conv_1", f"{kind}_bn_1", sizes, statistics),
            "p": self._adjusted(p, sizes, p_sizes, statistics),
        }
        # only a reduction's sums are smaller than its inputs
        out_sizes = halved_sizes(sizes) if kind == "reduction" else sizes
        if statistics is None:
            return self._inferred(maps, sizes, out_sizes)
        level = {"h": sizes, "p": sizes} | dict.fromkeys(self.table.sums, out_sizes)
        for name, (left, right) in self.table.sums.items():
            other = self._trained(left, maps, level, statistics)
            maps[name] = self._trained(right, maps, level, statistics) + other
        return jnp.concatenate([maps[name] for name in self.table.outputs], axis=-1)

    def _name(self, layer: str) -> str:
        return f"{layer}_{self.block}"

    def _norm(self, name: str) -> BatchNorm:
        return BatchNorm(self.features, self.kernels, name=self._name(name))

    def _projected(
        self, x: Map, name: str, norm: str, sizes: Sizes, statistics: BatchStatistics | None
    ) -> Output:
        layer = Projection(self.features, self.dtype, self.kernels, name=self._name(name))
        return normalised(layer, self._norm(norm), x, sizes, sizes, statistics)

    def _adjusted(self, p: Skip, sizes: Sizes, p_sizes: Sizes, statistics: BatchStatistics | None) -> Output:
        if self.adjust == "none":
            return p
        if self.adjust == "project":
            return self._projected(p, "adjust_conv_projection", "adjust_bn", sizes, statistics)
        norm, half = self._norm("adjust_bn"), self.features // 2
        affine = norm.affine() if statistics is None else None
        halves = []
        for i, path in enumerate(self.kernels.factorised_paths(p, p_sizes)):
            layer = Projection(half, self.dtype, self.kernels, name=self._name(f"adjust_conv_{i + 1}"))
            own = affine and (affine[0][i * half : (i + 1) * half], affine[1][i * half : (i + 1) * half])
            halves.append(layer(path, sizes, own))
        p = jnp.concatenate(halves, axis=-1)
        return p if affine else norm(p, sizes, statistics)

    def _trained(
        self,
        operation: Operation,
        maps: dict[str, Array],
        level: dict[str, Sizes],
        statistics: BatchStatistics,
    ) -> Output:
        x, sizes = maps[operation.source], level[operation.source]
        match operation:
            case Separable():
                return self._separable(operation, x, sizes, statistics)
            case Average():
                return average_pool(x, sizes, self.kernels.window_sums)
            case StridedAverage():
                return strided_average_pool(x, sizes, self.kernels.window_sums)
            case StridedMax():
                return strided_max_pool(x, sizes)
            case Identity():
                return x

    def _inferred(self, maps: dict[str, Array], sizes: Sizes, out_sizes: Sizes) -> Output:
        """The cell's result by running statistics.

        A convolution adds its sum's other map to what it writes. A sum without one, which no other operation reads,
        is made where the maps are joined.
        """
        layers = self._first_layers("h", maps["h"], sizes) | self._first_layers("p", maps["p"], sizes)
        pools = {}
        if self.table.kind == "reduction":
            pools[StridedMax], pools[StridedAverage] = self.kernels.strided_pools(maps["h"], sizes)

        def value(operation: Operation) -> Output:
            match operation:
                case Separable():
                    return self._second_layer(operation, layers[operation.name], out_sizes)
                case StridedMax() | StridedAverage():
                    return pools[type(operation)]
                case Identity():
                    return maps[operation.source]
                case Average():
                    raise TypeError(f"{operation} has no map of its own")

        sums = {"p": Sum((maps["p"],))}
        for name, operations in self.table.sums.items():
            first, last = sorted(operations, key=lambda operation: isinstance(operation, Separable))
            if isinstance(last, Separable):
                maps[name] = self._second_layer(last, layers[last.name], out_sizes, value(first))
                sums[name] = Sum((maps[name],))
                layers |= self._first_layers(name, maps[name], out_sizes)
            else:
                sums[name] = Sum(
                    tuple(maps[o.source] for o in operations if isinstance(o, Identity)),
                    tuple(maps[o.source] for o in operations if isinstance(o, Average)),
                )
        return self.kernels.joined(tuple(sums[name] for name in self.table.outputs), out_sizes)

    def _layer(self, operation: Separable, i: int, channels: int) -> tuple[SeparableConv, BatchNorm]:
        """The first or second layer of a separable convolution, and the batch norm behind it."""
        stride = operation.stride if i == 1 else 1
        name = self._name(f"separable_conv_{i}_{operation.name}")
        layer = SeparableConv(
            channels, self.features, operation.window, stride, self.dtype, self.kernels, name=name
        )
        return layer, self._norm(f"separable_conv_{i}_bn_{operation.name}")

    def _separable(self, operation: Separable, x: Map, sizes: Sizes, statistics: BatchStatistics) -> Output:
        out_sizes = halved_sizes(sizes) if operation.stride == 2 else sizes
        for i in (1, 2):
            layer, norm = self._layer(operation, i, x.shape[-1])
            x, sizes = norm(layer(x, sizes), out_sizes, statistics), out_sizes
        return x

    def _first_layers(self, source: str, x: Map, sizes: Sizes) -> dict[str, Output]:
        """At inference: those of all separable convolutions of one map, which read it once; by their names."""
        operations = [operation for both in self.table.sums.values() for operation in both]
        readers = [o for o in operations if isinstance(o, Separable) and o.source == source]
        if not readers:
            return {}
        (stride,) = {operation.stride for operation in readers}
        pairs = [self._layer(operation, 1, x.shape[-1]) for operation in readers]
        layers = tuple(layer.at_inference(norm.affine()) for layer, norm in pairs)
        with jax.named_scope("separable_conv_1"):
            results = self.kernels.separable(x.astype(self.dtype), sizes, layers, stride)
        return {operation.name: y for operation, y in zip(readers, results, strict=True)}

    def _second_layer(self, operation: Separable, x: Map, sizes: Sizes, onto: Output | None = None) -> Output:
        """At inference, plus `onto`."""
        layer, norm = self._layer(operation, 2, x.shape[-1])
        with jax.named_scope("separable_conv_2"):
            (y,) = self.kernels.separable(x, sizes, (layer.at_inference(norm.affine(), onto),), 1)
        return y
