"""A text tower and a linear head over the features of each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from thermocline.contracts.inputs import BuiltInput
from thermocline.contracts.tower import TOKEN, Tower
from thermocline.inputs.building import tower_maps
from thermocline.tuning.layers.layer_map import LayerMap

TOWER = "text"


class TokenModel(nn.Module):
    """Tags of tokens.

    Args:
        tower: A text tower that gives features of tokens.
        outputs: Number of tags.

    Attributes:
        towers: The tower, by name.
        head: A linear layer over the features of a token.
        takes_features: Whether features of rows may stand in place of the tower's inputs; see `PrefixCache`.
    """

    takes_features = False

    def __init__(self, tower: Tower, outputs: int) -> None:
        super().__init__()
        tower.check_grain(TOKEN)
        self.towers = nn.ModuleDict({TOWER: tower})
        features: Any = tower
        self.head = nn.Linear(features.features, outputs)

    def features(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the features of tokens, float `(windows, tokens, width)`, those of padding included."""
        states: torch.Tensor = self.towers[TOWER](batch[TOWER], grain=TOKEN)
        return states

    def forward(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return a logit of each tag, float `(windows, tokens, tags)`."""
        out: torch.Tensor = self.head(self.features(batch))
        return out


def layers_of(model: TokenModel, one: BuiltInput, adapted: Mapping[str, LayerMap]) -> LayerMap:
    """Return the layers of the tower and the head.

    Args:
        model: The model.
        one: The input whose tower it has.
        adapted: The map of the backbone where it was adapted, by tower.
    """
    maps = tower_maps([one], adapted)
    maps["head"] = LayerMap.single(model.head, name="head", tower="head", role="head", depth=0)
    return LayerMap.join(maps)
