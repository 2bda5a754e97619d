"""The trunks by name."""

import functools
from collections.abc import Mapping

from mtp.models import efficientnet_lite
from mtp.models.backbone import Backbone
from mtp.models.efficientnet_lite import LITE, TOP, EfficientNetLite
from mtp.models.model import PictureSizes
from mtp.models.nasnet import NASNET_A, NASNet
from mtp.models.weights import efficientnet_lite as lite_weights
from mtp.models.weights import nasnet as nasnet_weights
from mtp.ops.canvas import to_float


def odd_sides(sizes: PictureSizes) -> PictureSizes:
    """Sizes without an even side's last line, which NASNet's stem (3x3, stride 2, no padding) never reads."""
    return sizes - (sizes % 2 == 0)


def _nasnet(name: str) -> Backbone:
    return Backbone(
        module=functools.partial(NASNet, NASNET_A[name]),
        channels=NASNET_A[name].features,
        stride=32,
        min_side=32,
        pixels=to_float,
        reads=odd_sides,
        levels=True,
        load=functools.partial(nasnet_weights.load, backbone=name),
        origin=functools.partial(nasnet_weights.origin, backbone=name),
    )


def _lite(name: str) -> Backbone:
    return Backbone(
        module=functools.partial(EfficientNetLite, LITE[name]),
        channels=TOP,
        stride=32,
        min_side=32,
        pixels=efficientnet_lite.to_float,
        levels=True,
        load=functools.partial(lite_weights.load, backbone=name),
        origin=functools.partial(lite_weights.origin, backbone=name),
    )


_NASNETS = {name: _nasnet(name) for name in NASNET_A}
# by the names of model.backbone
BACKBONES: Mapping[str, Backbone] = _NASNETS | {name: _lite(name) for name in LITE}
