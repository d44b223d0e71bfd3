"""Options of numeric and categorical columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from thermocline.config.option import TOWER_FROZEN_LAYERS, FrozenLayers, option

NumericEmbedding: TypeAlias = Literal["piecewise", "periodic", "none"]


@dataclass(frozen=True)
class TableOptions:
    """The tower for numeric and categorical columns: section `model.table`."""

    width: int = option(192, "Units per block.", at_least=1, at_most=8192)
    blocks: int = option(2, "Number of blocks.", at_least=1, at_most=256)
    dropout: float = option(0.1, "Share of units dropped in a block.", at_least=0, below=1)
    embedding: NumericEmbedding = option("piecewise", "How a number becomes a vector before the first block.")
    bins: int = option(48, "Most quantile bins per number (piecewise).", at_least=2, at_most=65_536)
    members: int = option(
        8,
        "Nets of an ensemble that share nearly all weights, where a table is all there is; 0: one net.",
        at_least=0,
        at_most=256,
    )
    frozen_layers: FrozenLayers = option(None, TOWER_FROZEN_LAYERS, example="stem")


@dataclass(frozen=True)
class TableDataOptions:
    """How categories are read: part of section `data`."""

    max_categories: int = option(
        512, "Most categories per column; rarer ones share a place.", at_least=2, at_most=1_000_000
    )
