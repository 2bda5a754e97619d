"""NASNet's cell by the running statistics, in few kernels that each read a map once.

All separable convolutions of one map begin in one kernel; a convolution adds its sum's other map to what it writes; a
sum without one, which no other operation reads, is made where the maps are joined. The result is the plain cell's. That
holds for the two tables of NASNet-A; a cell of another table is made of its layers' kernels.
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from mtp.models.cells import (
    NORMAL,
    REDUCTION,
    Average,
    Cell,
    CellTable,
    Identity,
    Operation,
    Separable,
    StridedAverage,
    StridedMax,
)
from mtp.models.layers import BatchStatistics, ConvNorm
from mtp.native import fused
from mtp.native.fused import Sum
from mtp.native.layers import layer
from mtp.ops.canvas import Sizes

Map = Float[Array, "B H W _"]
Output = Float[Array, "B h w _"]
Maps = dict[str, Float[Array, "B _ _ _"]]  # of both sizes
# of separable convolutions the second layer, and what the first one gave
Begun = dict[Operation, tuple[ConvNorm, Output]]


def _described(table: CellTable) -> tuple:
    """Operations of different kinds are equal as tuples."""
    return table.outputs, [(name, [(type(o), *o) for o in both]) for name, both in table.sums.items()]


KNOWN = _described(NORMAL), _described(REDUCTION)


def combined(
    cell: Cell, plain: Callable, maps: Maps, sizes: Sizes, statistics: BatchStatistics | None
) -> Output:
    """`Cell.combined`; in training it is made of its layers' kernels."""
    if statistics is not None or _described(cell.table) not in KNOWN:
        return plain(maps, sizes, statistics)
    maps, out_sizes = dict(maps), cell.out_sizes(sizes)
    begun = _begun(cell, "h", maps["h"], sizes) | _begun(cell, "p", maps["p"], sizes)
    pools = _strided_pools(cell, maps["h"], sizes)

    def value(operation: Operation) -> Output:
        match operation:
            case Separable():
                return _finished(*begun[operation], out_sizes)
            case Identity():
                return maps[operation.source]
            case _:
                return pools[type(operation)]

    sums = {"p": Sum((maps["p"],))}
    for name, operations in cell.table.sums.items():
        first, last = sorted(operations, key=lambda operation: isinstance(operation, Separable))
        if isinstance(last, Separable):
            maps[name] = _finished(*begun[last], out_sizes, value(first))
            sums[name] = Sum((maps[name],))
            begun |= _begun(cell, name, maps[name], out_sizes)
        else:
            sums[name] = Sum(_sources(operations, Identity, maps), _sources(operations, Average, maps))
    return fused.joined(tuple(sums[name] for name in cell.table.outputs), out_sizes)


def _all(cell: Cell) -> list[Operation]:
    return [operation for operations in cell.table.sums.values() for operation in operations]


def _begun(cell: Cell, source: str, x: Map, sizes: Sizes) -> Begun:
    """The separable convolutions of one map after their first layers, which read it once."""
    readers = [o for o in _all(cell) if isinstance(o, Separable) and o.source == source]
    if not readers:
        return {}
    (stride,) = {operation.stride for operation in readers}
    firsts, seconds = zip(*(cell.separable(operation, x.shape[-1]) for operation in readers), strict=True)
    with jax.named_scope("separable_conv_1"):
        results = fused.separable(x.astype(cell.dtype), sizes, tuple(map(layer, firsts)), stride)
    return dict(zip(readers, zip(seconds, results, strict=True), strict=True))


def _finished(second: ConvNorm, x: Output, sizes: Sizes, onto: Output | None = None) -> Output:
    """A separable convolution after its second layer, plus `onto`."""
    with jax.named_scope("separable_conv_2"):
        (y,) = fused.separable(x, sizes, (layer(second, onto),), 1)
    return y


def _strided_pools(cell: Cell, h: Map, sizes: Sizes) -> dict[type, Output]:
    """Those of a reduction, which are all of the cell's input; equal as tuples, they differ by type."""
    if not any(isinstance(operation, StridedMax | StridedAverage) for operation in _all(cell)):
        return {}
    largest, average = fused.strided_pools(h, sizes)
    return {StridedMax: largest, StridedAverage: average}


def _sources(operations: tuple[Operation, Operation], kind: type, maps: Maps) -> tuple[Output, ...]:
    return tuple(maps[operation.source] for operation in operations if isinstance(operation, kind))
