"""The order in which Keras saves NASNet's layers: by depth from the output, then by traversal.

Published weight files are matched by this order, as Keras does, so that the names inside a file do not matter.
Keras' graph is rebuilt from our own tables, with its layers without weights, since they count in the depth.
"""

import dataclasses

from mtp.models.cells import Average, Identity, Operation, Separable
from mtp.models.nasnet import Architecture, Place, layout

TOP = "predictions"


@dataclasses.dataclass(frozen=True, eq=False)
class _Layer:
    """name: empty for a layer without weights."""

    name: str
    inputs: tuple["_Layer", ...]


def saved_layers(architecture: Architecture, *, top: bool) -> list[str]:
    """Names of all layers that hold weights, in Keras' order; with `top` the ImageNet classifier too."""
    maps = [_chain(_Layer("", ()), "stem_conv1", "stem_bn1")]
    for place in layout(architecture):
        maps.append(_cell(place, maps[-1], maps[place.skip]))
    output = _chain(maps[-1], "", *(("", TOP) if top else ()))

    visited: list[_Layer] = []
    finished: list[_Layer] = []
    _traverse(output, visited, set(), finished)
    depths = dict.fromkeys(visited, 0)
    for layer in reversed(finished):
        for parent in layer.inputs:
            depths[parent] = max(depths[parent], depths[layer] + 1)
    # sorting is stable: layers of one depth stay in the order of the traversal
    ordered = sorted(visited, key=lambda layer: -depths[layer])
    return [layer.name for layer in ordered if layer.name]


def _traverse(layer: _Layer, visited: list[_Layer], seen: set[_Layer], finished: list[_Layer]) -> None:
    """Depth first from the output: `visited` before a layer's inputs, `finished` after them."""
    if layer in seen:
        return
    seen.add(layer)
    visited.append(layer)
    for parent in layer.inputs:
        _traverse(parent, visited, seen, finished)
    finished.append(layer)


def _chain(source: _Layer, *names: str) -> _Layer:
    for name in names:
        source = _Layer(name, (source,))
    return source


def _cell(place: Place, x: _Layer, p: _Layer) -> _Layer:
    kind, block = place.table.kind, place.block
    maps = {"p": _adjusted(place, p), "h": _chain(x, "", f"{kind}_conv_1_{block}", f"{kind}_bn_1_{block}")}
    padded = _chain(maps["h"], "")
    for name, pair in place.table.sums.items():
        maps[name] = _Layer("", tuple(_operation(operation, maps, padded, block) for operation in pair))
    return _Layer("", tuple(maps[name] for name in place.table.outputs))


def _adjusted(place: Place, p: _Layer) -> _Layer:
    block = place.block
    match place.adjust:
        case "reduce":
            p = _chain(p, "")
            first = _chain(p, "", f"adjust_conv_1_{block}")
            second = _chain(p, "", "", "", f"adjust_conv_2_{block}")
            return _chain(_Layer("", (first, second)), f"adjust_bn_{block}")
        case "project":
            return _chain(p, "", f"adjust_conv_projection_{block}", f"adjust_bn_{block}")
        case _:
            return p


def _operation(operation: Operation, maps: dict[str, _Layer], padded: _Layer, block: str) -> _Layer:
    match operation:
        case Separable(source, _, name, stride):
            padding = ("",) if stride == 2 else ()
            first, second = (
                (f"separable_conv_{i}_{name}_{block}", f"separable_conv_{i}_bn_{name}_{block}")
                for i in (1, 2)
            )
            return _chain(maps[source], "", *padding, *first, "", *second)
        case Identity(source):
            return maps[source]
        case Average(source):
            return _chain(maps[source], "")
        case _:
            # both strided pools read the one padded map
            return _chain(padded, "")
