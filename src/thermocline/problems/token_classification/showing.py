"""Texts with the entities in them: plain text for a terminal, HTML for a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from thermocline.errors import escaped
from thermocline.report.screen import folded, screen_width
from thermocline.report.tables import html_block

COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#eeca3b", "#9d755d")


@dataclass(frozen=True, eq=False)
class MarkedText:
    """A text and the entities in it.

    Attributes:
        name: What the row is called.
        text: The text.
        entities: Dicts of `start`, `end`, `label` and perhaps `score`, by place.
    """

    name: str
    text: str
    entities: Sequence[Mapping[str, Any]]

    def marked(self) -> str:
        """Return the text with each entity as `[Ada Lovelace]{person}`."""
        return "".join(
            piece if one is None else f"[{piece}]{{{one['label']}}}" for piece, one in pieces(self.text, self.entities)
        )


@dataclass(frozen=True, eq=False)
class EntityTexts:
    """Texts with the entities that were found in them: print it, or show it in a notebook.

    Attributes:
        texts: The texts.
        classes: All classes; a class has its colour by its place.
    """

    texts: tuple[MarkedText, ...]
    classes: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def __str__(self) -> str:
        lines: list[str] = []
        width = screen_width()
        for one in self.texts:
            marked = one.marked().replace("\r\n", "\n").split("\n")
            own = [line for text in marked for line in folded(escaped(text), max(width - 4, 20))]
            lines += [one.name, *(f"    {line}" for line in own)]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_block(*(self._html(one) for one in self.texts))

    def _html(self, one: MarkedText) -> str:
        body = "".join(
            _lines(piece) if found is None else self._entity(piece, found)
            for piece, found in pieces(one.text, one.entities)
        )
        return f"<div><span class=f>{escape(one.name)}</span><br>{body}</div><br>"

    def _entity(self, piece: str, found: Mapping[str, Any]) -> str:
        """An entity: bold and in brackets, with its class behind it, for viewers that take styles away."""
        label = found["label"]
        colour = COLOURS[self.classes.index(label) % len(COLOURS)] if label in self.classes else "#888"
        score = f" {found['score']:.2f}" if "score" in found else ""
        style = f"background:{colour}33;border-bottom:2px solid {colour};padding:1px 2px"
        return f'<b style="{style}">[{_lines(piece)}]</b><sub> {escape(str(label))}{score}</sub>'


def pieces(text: str, entities: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Return a text as pieces, each with the entity that it is, or None between entities."""
    found: list[tuple[str, Mapping[str, Any] | None]] = []
    at = 0
    for one in entities:
        if one["start"] > at:
            found.append((text[at : one["start"]], None))
        found.append((text[one["start"] : one["end"]], one))
        at = one["end"]
    return [*found, (text[at:], None)] if at < len(text) else found


def _lines(text: str) -> str:
    return escape(text).replace("\r\n", "\n").replace("\n", "<br>")
