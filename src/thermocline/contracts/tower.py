"""Towers: a model's part for one input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from thermocline.contracts.mixing import Mixing
from thermocline.errors import listing

ROW, TOKEN, MAP = "row", "token", "map"
"""Grains of features: one vector a row; one a token of a text; one a place of an image's grid."""


class Tower(nn.Module):
    """A part of a model that turns one kind of input into features.

    Attributes:
        width: Features a row.
        pretrained: Whether any of its parameters come from pretrained weights.
        notes: What was changed on the way that a user should know.
        fixed: How many of the first features are fixed encodings of cells, which no parameter changes.
        members: Members, where it is an ensemble, else 0. Behind the fixed features it gives those of each member,
            one after the other, divided by their number: a linear head gives the mean of the members' outputs.
        zero_start: Whether its features behind the fixed ones are zero before training.
        norm_eval: Whether its BatchNorm layers keep their statistics while it trains.
        feature_blocks: The widths of blocks of its features that a linear model should weigh alike, however wide each
            is; empty where all features are one block.

    Example:
        >>> tower = predictor.model.towers["text"]
        >>> tower.width, tower.pretrained, sorted(tower.grains)
        (32, True, ['row', 'token'])
    """

    width: int = 0
    pretrained: bool = False
    notes: tuple[str, ...] = ()
    fixed: int = 0
    members: int = 0
    zero_start: bool = False
    norm_eval: bool = False
    feature_blocks: tuple[int, ...] = ()

    def forward(self, inputs: Mapping[str, Any], *, grain: str = ROW) -> Any:
        """Map the tower's part of a batch to features: `(rows, width)` for the grain `row`.

        Raises:
            ValueError: It does not give this grain.
        """
        raise NotImplementedError

    def row_states(self, states: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor | None:
        """Return the output of one of its layers as features of rows, float `(rows, width)`, or None where it is none.

        Args:
            states: What a layer gave, of any shape.
            inputs: The tower's part of the batch.
        """
        del states, inputs
        return None

    def mixed(self, inputs: Mapping[str, Any], mixing: Mixing) -> Mapping[str, Any] | None:
        """Return the tower's part of a batch with its rows mixed, or None where its features are what is mixed."""
        del inputs, mixing
        return None

    @property
    def grains(self) -> frozenset[str]:
        """Which grains of features it gives: `row`, `token`, `map`."""
        return frozenset({ROW})

    def check_grain(self, grain: str) -> None:
        """Check that the tower gives a grain.

        Raises:
            ValueError: It does not; the message names those it gives.
        """
        if grain != ROW and grain not in self.grains:
            raise ValueError(
                f"{type(self).__name__} gives no features of grain {grain!r} with this backbone. It gives "
                f"{listing(sorted(self.grains))}."
            )

    @property
    def backbone_module(self) -> nn.Module | None:
        """The backbone: what `env.compile` compiles and `model.peft` adapts; None where there is none."""
        return None

    @property
    def library_module(self) -> nn.Module | None:
        """What a folder of timm or transformers can hold: the backbone; None where there is none."""
        return self.backbone_module

    @property
    def layer_example(self) -> Any:
        """Inputs of the backbone for `LayerMap.of`, where its layers are not found without; else None."""
        return None

    @property
    def varying_shapes(self) -> bool:
        """Whether inputs come in many shapes, so that one compiled kernel has to do for all."""
        return False

    def conv_example(self) -> tuple[nn.Module, torch.Tensor] | None:
        """Return the module whose convolutions may be folded with BatchNorm, and a meta input for it, or None."""
        return None
