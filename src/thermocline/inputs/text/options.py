"""Options of text input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from thermocline.config.option import TOWER_FROZEN_LAYERS, FrozenLayers, option

Pooling: TypeAlias = Literal["auto", "cls", "mean", "last"]
Join: TypeAlias = Literal["names", "separator"]
Pair: TypeAlias = Literal["auto", "joint", "apart", "both", "each"]


@dataclass(frozen=True)
class TextOptions:
    """The text tower: section `model.text`."""

    checkpoint: str = option(
        "jhu-clsp/ettin-encoder-68m", "A hub name, a local folder, or `offline:minilm-l6`.", example="offline:minilm-l6"
    )
    pretrained: bool = option(True, "Start from the checkpoint's weights; false keeps its shape only.")
    pooling: Pooling = option("auto", "How tokens become one vector; auto fits the model family.")
    max_length: int | None = option(
        None, "Most tokens per row; null: from the data and the model.", at_least=4, at_most=1_000_000, example=256
    )
    join: Join = option("names", "Several text columns: as `column: value`, or parted by the separator token.")
    pair: Pair = option(
        "auto",
        "Text columns: in one sequence (joint), two compared (apart, or both); each: any number alone.",
    )
    token_dropout: float = option(
        0.0,
        "Share of tokens that training hides behind the mask token, others every epoch.",
        at_least=0,
        below=1,
        example=0.1,
    )
    frozen_layers: FrozenLayers = option(None, TOWER_FROZEN_LAYERS, example="embeddings")
    trust_remote_code: bool = option(False, "Let the checkpoint's own Python code run on this machine.", varies=False)
