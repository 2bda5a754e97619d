"""Many arrays in few vectors, one for each type, with a listing of what lies where."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Listing = dict[
    str, str
]  # path of an array -> its type and shape, in the order of the arrays in their vectors
Vectors = dict[str, np.ndarray]  # name of a type -> all arrays of that type, flat, one behind the other


def by_path(tree: Any) -> dict[str, Any]:
    """Path to array, in order of flattening: what is stored does not depend on Python classes."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def listing(tree: Any) -> Listing:
    """Of a tree of arrays, or of their types and shapes."""
    return {path: f"{array.dtype}{tuple(array.shape)}" for path, array in by_path(tree).items()}


def packed(tree: Any) -> tuple[Vectors, Listing]:
    """All arrays of a tree, on the host."""
    parts: dict[str, list[np.ndarray]] = {}
    for array in jax.device_get(jax.tree.leaves(tree)):
        parts.setdefault(str(array.dtype), []).append(np.ravel(array))
    return {name: np.concatenate(flat) for name, flat in parts.items()}, listing(tree)


def lengths(listing: Listing) -> dict[str, int]:
    """Name of a type -> how many numbers its vector holds."""
    found: dict[str, int] = {}
    for text in listing.values():
        name, _, shape = text.rstrip(")").partition("(")
        found[name] = found.get(name, 0) + math.prod(int(side) for side in shape.split(",") if side)
    return found


def unpacked(vectors: Vectors, listing: Listing, wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays by path, views of the vectors; wanted: types and shapes, those that the listing describes."""
    arrays, taken = {}, dict.fromkeys(vectors, 0)
    for path in listing:
        name, first = str(wanted[path].dtype), taken[str(wanted[path].dtype)]
        taken[name] = first + wanted[path].size
        arrays[path] = vectors[name][first : taken[name]].reshape(wanted[path].shape)
    return arrays
