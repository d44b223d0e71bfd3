"""Options of token classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from thermocline.config.option import option

Overlapping: TypeAlias = Literal["error", "longest"]
Units: TypeAlias = Literal["auto", "space", "word", "token"]


@dataclass(frozen=True)
class SpanOptions:
    """How marked texts are read: part of section `data`."""

    text_column: str | None = option(
        None, "The column of texts that entities are in; null: the only column of texts.", varies=False, example="text"
    )
    token_column: str | None = option(
        None,
        "The column of token lists, where the label is a column of tags (BIO, BIOES).",
        varies=False,
        example="tokens",
    )
    overlapping_spans: Overlapping = option(
        "error", "Entities that overlap: an error, or the longest of them is kept.", varies=False
    )


@dataclass(frozen=True)
class EntityOptions:
    """How entities are found: section `model.entities`."""

    stride: int | None = option(
        None,
        "Tokens that two neighbouring windows of a long text share; null: a quarter of a window.",
        at_least=0,
        at_most=1_000_000,
        example=32,
    )
    units: Units = option(
        "auto",
        "Where entities begin and end: at white space, words or any token; auto: as in training.",
    )
