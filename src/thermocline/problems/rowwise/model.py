"""Towers side by side under one head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from thermocline.contracts.inputs import BuiltInput
from thermocline.contracts.mixing import Mixing
from thermocline.contracts.tower import Tower
from thermocline.inputs.building import tower_maps
from thermocline.problems.rowwise.blend import Beside
from thermocline.problems.rowwise.mixing import MIXING
from thermocline.tuning.layers.layer_map import LayerMap


class FusionModel(nn.Module):
    """Towers, a linear head over their features, and between several towers a fusion MLP.

    The head sees the features of every tower, so it is a linear head per tower whose outputs are added. With
    several towers a small MLP over all features, normalised, adds what needs them together. Its last layer starts
    at zero: a probe folded into the head is exact at the first step.

    Where the only tower is an ensemble the head gives the mean of its members' outputs, each added to what the fixed
    features say. In training, once `apart` is set, the outputs of the members come apart, for a loss of each.

    Args:
        towers: Name → tower, in the order of their features; each is given `batch[name]`.
        outputs: Outputs a row.
        width: Width of the fusion MLP.
        dropout: In the fusion MLP.

    Attributes:
        trees: Trees on the table's columns and their share of the outputs, where the end of a fit put them here.
        tfidf: A linear model of words and cells, alike.
        apart: Whether outputs in training are `(rows, members, outputs)` where the tower is an ensemble.
        members: Its members, else 0.
        probed: Whether a probe was written into the head; an ensemble alone has it, a buffer.
    """

    towers: Mapping[str, Tower]  # an nn.ModuleDict
    probed: torch.Tensor

    def __init__(self, towers: Mapping[str, Tower], outputs: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(towers)  # type: ignore[assignment]
        self.widths = {name: tower.width for name, tower in self.towers.items()}
        total = sum(self.widths.values())
        self.head = nn.Linear(total, outputs)
        self.trees: Beside | None = None
        self.tfidf: Beside | None = None
        self.apart = False
        alone = next(iter(self.towers.values()))
        self.fixed, self.members = alone.fixed, alone.members if len(self.towers) == 1 else 0
        if self.members:
            self.register_buffer("probed", torch.zeros((), dtype=torch.bool))
        self.fusion: nn.Sequential | None = None
        if len(self.towers) > 1:
            self.fusion = nn.Sequential(
                nn.LayerNorm(total),
                nn.Linear(total, width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(width, outputs),
            )
            last = self.fusion[-1]
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def features(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the features of all towers side by side, `(rows, width)`; those of the network alone.

        A tower whose features are known is not run: its place in the batch holds `{"features": (rows, width)}`. In
        training the batch may say how its rows are mixed.
        """
        mixing = batch.get(MIXING)
        parts = [_features(tower, batch[name], mixing) for name, tower in self.towers.items()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    @property
    def row_width(self) -> int:
        """How many `row_features` there are."""
        return self.fixed + (sum(self.widths.values()) - self.fixed) // max(self.members, 1)

    def row_features(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the features of all towers, `(rows, width)`; of an ensemble's members their mean."""
        features = self.features(batch)
        if not self.members:
            return features
        deep = features[:, self.fixed :].reshape(len(features), self.members, -1)
        return torch.cat([features[:, : self.fixed], deep.sum(dim=1)], dim=1)

    def forward(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the outputs `(rows, outputs)`: logits, or the standardised target; see `apart`.

        In eval mode they are blended with what is fitted beside the network, where there is something.
        """
        out = self.network(batch)
        for beside in () if self.training else (self.trees, self.tfidf):
            out = out if beside is None else beside(out, batch)
        return out

    def network(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the outputs of `forward` without what is fitted beside the network."""
        features = self.features(batch)
        if self.training and self.apart and self.members:
            return self.of_members(features)
        out: torch.Tensor = self.head(features)
        return out if self.fusion is None else out + self.fusion(features)

    def of_members(self, features: torch.Tensor) -> torch.Tensor:
        """Return the outputs of each member of an ensemble, `(rows, members, outputs)`; their mean is the head's.

        What a probe says of the fixed features is not changed by training: it would fit them closer than it should.
        """
        members, fixed = self.members, self.fixed
        weight, bias = self.head.weight, self.head.bias
        wide = torch.where(self.probed, weight[:, :fixed].detach(), weight[:, :fixed])
        deep = features[:, fixed:].reshape(len(features), members, -1) * members
        each = torch.einsum("nkw,okw->nko", deep, weight[:, fixed:].reshape(len(weight), members, -1))
        return each + nn.functional.linear(features[:, :fixed], wide, bias).unsqueeze(1)

    def probe_columns(self) -> torch.Tensor:
        """Return which features a probe may use, bool `(width,)`: not those of a net that starts at random.

        A table tower's deep features are left out, and those of a text or image tower without pretrained weights.
        """
        parts = []
        for name, tower in self.towers.items():
            usable = torch.zeros(self.widths[name], dtype=torch.bool)
            if tower.pretrained:
                usable[:] = True
            else:
                usable[: tower.fixed] = True
            parts.append(usable)
        return torch.cat(parts)

    def fixed_columns(self) -> torch.Tensor:
        """Return which features are fixed encodings of table cells, bool `(width,)`."""
        parts = []
        for name, tower in self.towers.items():
            flags = torch.zeros(self.widths[name], dtype=torch.bool)
            flags[: tower.fixed] = True
            parts.append(flags)
        return torch.cat(parts)

    def blocks(self) -> torch.Tensor:
        """Return the block of each feature, int64 `(width,)`: a tower, or one of its `feature_blocks`."""
        widths = [width for tower in self.towers.values() for width in tower.feature_blocks or (tower.width,)]
        return torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))

    def set_head(self, weight: torch.Tensor, bias: torch.Tensor, columns: torch.Tensor) -> None:
        """Write weights for some features into the head, such that the outputs are those of these weights alone.

        The weights of the other features become zero, except for those that are zero themselves before training, and
        need weights to learn through: of a table tower's deep part where it is no ensemble.

        Args:
            weight: `(outputs, columns.sum())`.
            bias: `(outputs,)`.
            columns: Which features, bool `(width,)`.
        """
        start = 0
        with torch.no_grad():
            for name, width in self.widths.items():
                if not self.towers[name].zero_start:
                    self.head.weight[:, start : start + width] = 0.0
                start += width
            self.head.weight[:, columns.to(self.head.weight.device)] = weight.to(self.head.weight)
            self.head.bias.copy_(bias)
            if self.members:
                self.probed.fill_(1)


def _features(tower: Tower, inputs: Mapping[str, Any], mixing: Mixing | None) -> torch.Tensor:
    """Return the features of a tower, `(rows, width)`, of rows that are mixed where that is asked for."""
    known: torch.Tensor | None = inputs.get("features")
    if mixing is None:
        return tower(inputs) if known is None else known
    given = tower.mixed(inputs, mixing) if known is None else None
    if given is not None:
        return tower(given)  # type: ignore[no-any-return]
    return mixing.mixed(tower(inputs) if known is None else known)


def layers_of(model: FusionModel, inputs: Iterable[BuiltInput], adapted: Mapping[str, LayerMap]) -> LayerMap:
    """Return the layers of all towers, of the fusion MLP and of the head.

    Args:
        model: The model.
        inputs: The inputs whose towers it has.
        adapted: The maps of backbones that were adapted, by tower.
    """
    maps = tower_maps(inputs, adapted)
    if model.fusion is not None:
        maps["fusion"] = LayerMap.single(model.fusion, name="mlp", tower="fusion", role="fusion", depth=0)
    maps["head"] = LayerMap.single(model.head, name="head", tower="fusion", role="head", depth=1)
    return LayerMap.join(maps)
