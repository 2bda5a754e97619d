"""NASNet's published ImageNet weights (Keras files) into our variables, strictly: every array or an error."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pooch

from mtp.config import CACHE
from mtp.models.nasnet import NASNET_A
from mtp.models.weights.arrays import (
    IMAGENET,
    Weights,
    WeightsError,
    file_origin,
    given_file,
    numbers,
)
from mtp.models.weights.keras_order import TOP, saved_layers

BASE = "https://storage.googleapis.com/tensorflow/keras-applications/nasnet/"
# (backbone, with the ImageNet classifier): name and md5, as in keras.applications.nasnet
FILES = {
    ("mobile", True): ("NASNet-mobile.h5", "020fb642bf7360b370c678b08e0adf61"),
    ("mobile", False): ("NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63"),
    ("large", True): ("NASNet-large.h5", "11577c9a518f0070763c2b964a382f17"),
    ("large", False): ("NASNet-large-no-top.h5", "d81d89dc07e6e56530c4e77faddd61b5"),
}
# Keras' layer classes, and the arrays of each in the order in which Keras saves them
ARRAYS = {
    "conv2d": ("kernel",),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
}

# h5py cannot say whether an item is a group or a data set
Group: TypeAlias = Any


def load(variables: Mapping[str, Any], weights: str, backbone: str) -> dict[str, Any]:
    """The variables of one trunk with every array replaced by the file's; `weights` is model.weights.

    Errors: WeightsError as `read` and `fetch`.
    """
    loaded = read(locate(weights, backbone), backbone, variables)
    return {"params": loaded.params, "batch_stats": loaded.batch_stats}


def locate(weights: str, backbone: str) -> Path:
    """The file of model.weights: "imagenet" is fetched, all else is a path."""
    if weights == IMAGENET:
        return fetch(backbone)
    return given_file(weights, "a Keras .h5 file")


def origin(weights: str, backbone: str) -> dict[str, Any]:
    """What results.json says of the loaded weights."""
    return file_origin(weights, lambda: locate(weights, backbone))


def fetch(backbone: str, *, top: bool = False) -> Path:
    """The published file of this backbone, downloaded once into the user's cache and checked.

    Errors: WeightsError where there is none, or it cannot be had.
    """
    if (backbone, top) not in FILES:
        raise WeightsError(
            f"ImageNet weights are published for mobile and large, not for {backbone!r}; use model.weights=''"
        )
    name, md5 = FILES[backbone, top]
    folder = CACHE / "weights"
    try:
        path = pooch.retrieve(BASE + name, f"md5:{md5}", fname=name, path=folder, progressbar=True)
    except (OSError, ValueError) as error:  # no network; another hash
        raise WeightsError(
            f"could not download {BASE + name}: {error}\nDownload it yourself (md5 {md5}) and put it at "
            f"{folder / name}, or give any path with --config.model.weights=PATH"
        ) from error
    return Path(path)


def read(path: Path, backbone: str, variables: Mapping[str, Any]) -> Weights:
    """A Keras weights file, legacy HDF5 or Keras 3 .weights.h5, with or without the ImageNet classifier.

    Layers are matched by order, arrays by order and shape, as Keras does; names in the file mean nothing.
    variables: params and batch_stats of a backbone, for their names and shapes.
    Errors: WeightsError naming the first array that is missing, left over, misshaped or not of finite numbers.
    """
    shapes = _shapes(variables)
    expected = saved_layers(NASNET_A[backbone], top=True)
    try:
        with h5py.File(path) as file:
            found = dict(_layers(file, expected, path))
    except OSError as error:
        raise WeightsError(f"{path} must be a whole HDF5 file of Keras weights; {error}") from error
    if TOP in found:
        shapes[TOP] = {"kernel": (NASNET_A[backbone].features, 1000), "bias": (1000,)}
    arrays = {
        (layer, name): values
        for layer, leaves in shapes.items()
        for name, values in _checked(layer, leaves, found.pop(layer, None), path)
    }
    top = {name: jnp.asarray(arrays[TOP, name]) for name in ARRAYS["dense"]} if TOP in shapes else None
    trees = {kind: _filled(variables[kind], arrays) for kind in ("params", "batch_stats")}
    return Weights(**trees, top=top)


def _shapes(variables: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Layer name -> array name -> shape."""
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    for kind in ("params", "batch_stats"):
        for path, leaf in jax.tree_util.tree_flatten_with_path(variables[kind])[0]:
            layers.setdefault(path[-2].key, {})[path[-1].key] = leaf.shape
    return layers


def _filled(tree: Any, arrays: Mapping[tuple[str, str], np.ndarray]) -> Any:
    return jax.tree.map_with_path(lambda path, _: jnp.asarray(arrays[path[-2].key, path[-1].key]), tree)


def _kind(layer: str) -> str:
    if layer == TOP:
        return "dense"
    if "bn" in layer:
        return "batch_normalization"
    return "separable_conv2d" if layer.startswith("separable") else "conv2d"


def _layers(file: Group, expected: list[str], path: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """(our layer name, the file's arrays) for every layer of the file that has any."""
    root = _member(file, "model_weights", h5py.Group, path) if "model_weights" in file else file
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        groups = [_member(root, name, h5py.Group, path) for name in _names(root, "layer_names")]
        stored = [[_array(group, name, path) for name in _names(group, "weight_names")] for group in groups]
        stored = [arrays for arrays in stored if arrays]
        if len(stored) > len(expected):
            raise WeightsError(
                f"{path} must have {len(expected) - 1} layers with weights ({len(expected)} with the classifier), "
                f"but has {len(stored)}; it is of another network than model.backbone"
            )
        yield from zip(expected, stored, strict=False)
    elif "layers" in root:
        yield from _keras3_layers(_member(root, "layers", h5py.Group, path), expected, path)
    else:
        raise WeightsError(f"{path} must be a weights file of Keras; it has neither layer_names nor layers")


def _member(group: Group, name: str, kind: type, path: Path) -> Any:
    """What lies in a group under a name. Errors: WeightsError where it is not there, or of another kind."""
    found = group.get(name)
    if not isinstance(found, kind):
        what = "missing" if found is None else f"no {kind.__name__}"
        there = ", ".join(list(group)[:5])
        raise WeightsError(f"{path}: {group.name.rstrip('/')}/{name} is {what}; there are {there or 'none'}")
    return found


def _array(group: Group, name: str, path: Path) -> np.ndarray:
    return np.asarray(_member(group, name, h5py.Dataset, path)[()])


def _names(group: Group, attribute: str) -> list[str]:
    """A list of names; Keras splits one that is too long for an attribute into NAME0, NAME1, ..."""
    parts = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    names = [name for part in parts for name in np.asarray(group.attrs[part]).tolist()]
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _keras3_layers(layers: Group, expected: list[str], path: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Keras 3 numbers the layers of each class: conv2d, conv2d_1, ...; arrays are vars/0, vars/1, ..."""
    stored = {}
    for name in layers:
        group = _member(layers, name, h5py.Group, path)
        variables = _member(group, "vars", h5py.Group, path) if "vars" in group else {}
        if len(variables):
            stored[name] = [_array(variables, str(i), path) for i in range(len(variables))]
    counts = dict.fromkeys(ARRAYS, 0)
    for layer in expected:
        kind = _kind(layer)
        name = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        if name in stored:
            yield layer, stored.pop(name)
    if stored:
        raise WeightsError(
            f"{path}: layers {sorted(stored)[:5]} are left over; it is of another network than model.backbone"
        )


def _checked(
    layer: str, leaves: Mapping[str, tuple[int, ...]], stored: list[np.ndarray] | None, path: Path
) -> Iterator[tuple[str, np.ndarray]]:
    """(array name, values) of one layer. Errors: WeightsError where they do not match its shapes."""
    names = ARRAYS[_kind(layer)]
    stored = stored or []
    for name, values in zip(names, stored, strict=False):
        if values.shape != leaves[name]:
            raise WeightsError(
                f"{path}: {layer}/{name} must have shape {leaves[name]}, but has {values.shape}; it is of "
                "another network than model.backbone"
            )
        yield name, numbers(values, name, f"{path}: {layer}/{name}")
    if len(stored) < len(names):
        raise WeightsError(f"{path}: {layer}/{names[len(stored)]} is missing")
    if len(stored) > len(names):
        raise WeightsError(f"{path}: {layer} has {len(stored) - len(names)} arrays more than {names}")
