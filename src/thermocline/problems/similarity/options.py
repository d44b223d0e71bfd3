"""Options of matching and search."""

from __future__ import annotations

from dataclasses import dataclass

from thermocline.config.option import option


@dataclass(frozen=True)
class SimilarityOptions:
    """How embeddings are made: section `model.similarity`."""

    width: int = option(
        256,
        "Numbers of an embedding where texts are compared with images; else as many as the backbone gives.",
        at_least=2,
        at_most=16_384,
        example=512,
    )


@dataclass(frozen=True)
class PairOptions:
    """How pairs are read: part of section `data`."""

    negative: str | None = option(
        None, "A column of responses that do not match, of the same type as `response`: triplets.", example="negative"
    )
