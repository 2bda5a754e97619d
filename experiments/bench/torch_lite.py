"""EfficientNet-Lite in PyTorch, by the published files' names, for pictures whose sides divide by 32."""

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from experiments.bench.ours import RATINGS
from mtp.models.efficientnet_lite import LITE, STEM, TOP, layout
from mtp.models.weights import IMAGENET, efficientnet_lite

EPS = 1e-3


def _convolution(read: int, made: int, window: int, stride: int, *, each: bool = False) -> nn.Module:
    return nn.Conv2d(
        read,
        made,
        window,
        stride,
        padding=window // 2 if stride == 1 else 0,
        groups=read if each else 1,
        bias=False,
    )


def _same(window: int, stride: int) -> nn.Module:
    """TensorFlow's padding of even sides, as far as it is not the convolution's own."""
    before = window // 2 - 1
    return nn.ZeroPad2d((before, window // 2, before, window // 2)) if stride == 2 else nn.Identity()


class Block(nn.Module):
    """An inverted residual."""

    def __init__(self, read: int, made: int, window: int, stride: int, expansion: int):
        super().__init__()
        inner = read * expansion
        self._expand_conv = _convolution(read, inner, 1, 1) if expansion > 1 else None
        self._bn0 = nn.BatchNorm2d(inner, EPS) if expansion > 1 else None
        self._same = _same(window, stride)
        self._depthwise_conv = _convolution(inner, inner, window, stride, each=True)
        self._bn1 = nn.BatchNorm2d(inner, EPS)
        self._project_conv = _convolution(inner, made, 1, 1)
        self._bn2 = nn.BatchNorm2d(made, EPS)
        self._skips = stride == 1 and read == made

    def forward(self, x: Any) -> Any:
        y = x
        if self._expand_conv is not None and self._bn0 is not None:
            y = nn.functional.relu6(self._bn0(self._expand_conv(y)))
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(self._same(y))))
        y = self._bn2(self._project_conv(y))
        return y + x if self._skips else y


class Lite(nn.Module):
    """(B, 3, H, W) as (rgb - 127) / 128 to what `_fc` makes of the last map's mean."""

    def __init__(self, name: str):
        super().__init__()
        self._same, self._conv_stem = _same(3, 2), _convolution(3, STEM, 3, 2)
        self._bn0, blocks, read = nn.BatchNorm2d(STEM, EPS), [], STEM
        for _, stage, stride in layout(LITE[name]):
            blocks.append(Block(read, stage.features, stage.window, stride, stage.expansion))
            read = stage.features
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _convolution(read, TOP, 1, 1), nn.BatchNorm2d(TOP, EPS)
        self._fc = nn.Linear(TOP, 1000)

    def features(self, x: Any) -> Any:
        """The mean of the last map, (B, 1280)."""
        x = nn.functional.relu6(self._bn0(self._conv_stem(self._same(x))))
        for block in self._blocks:
            x = block(x)
        return nn.functional.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))

    def forward(self, x: Any) -> Any:
        return self._fc(self.features(x))


def network(name: str) -> Lite:
    """With the published weights, channels last, and a linear head of ours for the classifier."""
    net = Lite(name)
    stored: OrderedDict[str, Any] = torch.load(efficientnet_lite.locate(IMAGENET, name), weights_only=True)
    net.load_state_dict(stored)
    net._fc = nn.Linear(TOP, RATINGS)
    return net.eval().to(memory_format=torch.channels_last)
