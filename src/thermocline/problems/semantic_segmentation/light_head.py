"""The light segmenter: an image backbone, a feature pyramid, and a classifier of every place.

The neck is a feature pyramid network (Lin et al., CVPR 2017): maps of all strides are brought to one width, and each
is added to the next finer one. The head is the semantic branch of Panoptic FPN (Kirillov et al., CVPR 2019): every
level passes a convolution, is brought to the finest stride, and the sum is classified. A backbone whose maps all have
one stride (a vision transformer) gets finer ones by transposed convolutions, as in ViTDet (Li et al., ECCV 2022).
GroupNorm in place of BatchNorm: the result of a row does not depend on the rows beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

_GROUPS = 8


@dataclass(frozen=True)
class LightShape:
    """The shape of the neck and head.

    Attributes:
        channels: Channels of each map of the backbone, finest first.
        strides: The stride of each.
        targets: The stride that each is brought to before the maps are added.
        width: Channels of the neck and head.
        last: Whether the backbone gives its channels last.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    targets: tuple[int, ...]
    width: int
    last: bool = False


class LightSegmenter(nn.Module):
    """Backbone, neck and head of a light segmenter.

    Args:
        backbone: Maps images `(images, 3, height, width)` to a list of maps.
        shape: The shape of the neck and head.
        classes: How many classes there are.
    """

    def __init__(self, backbone: nn.Module, shape: LightShape, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = PyramidNeck(shape)
        self.head = SumHead(len(shape.channels), shape.width, classes)
        self._last = shape.last

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return logits `(images, classes, h, w)` at the finest stride, for normalised images."""
        maps = list(self.backbone(pixel_values))
        if self._last:
            maps = [one.permute(0, 3, 1, 2) for one in maps]
        logits: torch.Tensor = self.head(self.neck(maps))
        return logits


class PyramidNeck(nn.Module):
    """Brings maps to one width, and adds coarse ones to finer ones.

    Args:
        shape: The shape.
    """

    def __init__(self, shape: LightShape) -> None:
        super().__init__()
        width = shape.width
        strides = zip(shape.channels, shape.strides, shape.targets, strict=True)
        self.levels = nn.ModuleList(_lateral(one, width, stride // target) for one, stride, target in strides)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the maps at the neck's width, finest first."""
        levels = [level(one) for level, one in zip(self.levels, maps, strict=True)]
        for index in range(len(levels) - 2, -1, -1):
            levels[index] = levels[index] + _resized(levels[index + 1], levels[index])
        return levels


class SumHead(nn.Module):
    """A convolution for each level, their sum at the finest stride, and a classifier of every place.

    Args:
        levels: How many maps there are.
        width: Channels of each.
        classes: How many classes there are.
    """

    def __init__(self, levels: int, width: int, classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_block(width) for _ in range(levels))
        self.fuse = _block(width)
        self.classifier = nn.Conv2d(width, classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits at the stride of the first map."""
        made = [block(one) for block, one in zip(self.levels, maps, strict=True)]
        total = made[0]
        for one in made[1:]:
            total = total + _resized(one, total)
        logits: torch.Tensor = self.classifier(self.fuse(total))
        return logits


def _lateral(channels: int, width: int, finer: int) -> nn.Sequential:
    lateral = nn.Conv2d(channels, width, 1)
    return nn.Sequential(lateral, *([nn.ConvTranspose2d(width, width, finer, stride=finer)] if finer > 1 else []))


def _block(width: int) -> nn.Sequential:
    convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(math.gcd(_GROUPS, width), width), nn.ReLU(inplace=True))


def _resized(one: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if one.shape[-2:] == like.shape[-2:]:
        return one
    return functional.interpolate(one, size=like.shape[-2:], mode="bilinear", align_corners=False)
