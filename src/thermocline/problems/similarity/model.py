"""Towers whose features become embeddings: one for both sides, or one each where they are text and image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from thermocline.contracts.inputs import BuiltInput
from thermocline.contracts.tower import Tower
from thermocline.inputs.building import tower_maps
from thermocline.tuning.layers.layer_map import LayerMap


class SimilarityModel(nn.Module):
    """Embeddings of the sides of pairs, each of length 1.

    A projection is over each tower. Where both sides share a tower it maps to as many numbers and starts as it is: the
    embeddings are then those of the backbone. Else each tower has its own, to a common width.

    Args:
        towers: Name → tower, that of the query first; each gives features of its columns side by side.
        columns: Name → columns of the tower.
        width: Numbers of an embedding where there are two towers.

    Attributes:
        width: Numbers of an embedding.
        sides: Sides of a row.
    """

    towers: Mapping[str, Tower]  # an nn.ModuleDict
    head: Mapping[str, nn.Linear]  # alike

    def __init__(self, towers: Mapping[str, Tower], columns: Mapping[str, int], *, width: int) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(towers)  # type: ignore[assignment]
        self.sides = sum(columns.values())
        self.features_of = {name: tower.width // columns[name] for name, tower in towers.items()}
        shared = len(towers) == 1
        self.width = next(iter(self.features_of.values())) if shared else width
        self.head = nn.ModuleDict({name: nn.Linear(one, self.width) for name, one in self.features_of.items()})  # type: ignore[assignment]
        for one in self.head.values():
            nn.init.zeros_(one.bias)
            if shared:
                nn.init.eye_(one.weight)

    @property
    def row_width(self) -> int:
        """How many numbers the embeddings of a row have."""
        return self.width * self.sides

    def features(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Return tower → its features of each of its columns, `(rows, columns, features)`, of towers in the batch.

        A tower whose features are known is not run: its place in the batch holds `{"features": (rows, width)}`.
        """
        found = {}
        for name, tower in self.towers.items():
            if name in batch:
                given = batch[name]
                features = given["features"] if "features" in given else tower(given)
                found[name] = features.reshape(len(features), -1, self.features_of[name])
        return found

    def forward(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the embeddings of the sides that the batch holds, one behind the other, `(rows, sides * width)`."""
        parts = [self.head[name](features) for name, features in self.features(batch).items()]
        sides = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return F.normalize(sides.float(), dim=2).flatten(1)

    def pair(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the embeddings of query and response alone, `(rows, 2 * width)`."""
        both: torch.Tensor = self(batch)[:, : 2 * self.width]
        return both


def layers_of(model: SimilarityModel, inputs: Iterable[BuiltInput], adapted: Mapping[str, LayerMap]) -> LayerMap:
    """Return the layers of all towers and of the projections, which are the head.

    Args:
        model: The model.
        inputs: The inputs whose towers it has.
        adapted: The maps of backbones that were adapted, by tower.
    """
    maps = tower_maps(inputs, adapted)
    head: Any = model.head
    maps["head"] = LayerMap.single(head, name="head", tower="fusion", role="head", depth=0)
    return LayerMap.join(maps)
