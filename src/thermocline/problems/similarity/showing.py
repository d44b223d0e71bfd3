"""Pairs with what is predicted for them: a table for a terminal, HTML with pictures for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from thermocline.report.frames import frame_text
from thermocline.report.pictures import html_picture
from thermocline.report.tables import html_block


@dataclass(frozen=True, eq=False)
class ShownPair:
    """A pair and what is predicted for it.

    Attributes:
        name: What the row is called.
        sides: The query and the response: a text, or a picture uint8 `(height, width, 3)`.
        texts: The same as texts; of a picture its file.
        prediction: The score or class.
        note: Such as the probability of a match; empty: nothing to say.
    """

    name: str
    sides: tuple[str | np.ndarray, str | np.ndarray]
    texts: tuple[str, str]
    prediction: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class ShownPairs:
    """Pairs with what is predicted for them: print it, or show it in a notebook.

    Attributes:
        pairs: The pairs.
        columns: The names of query, response and prediction.
    """

    pairs: tuple[ShownPair, ...]
    columns: tuple[str, str, str]

    def __len__(self) -> int:
        return len(self.pairs)

    def __str__(self) -> str:
        rows = [[*one.texts, one.prediction, one.note] for one in self.pairs]
        frame = pd.DataFrame(rows, columns=[*self.columns, "note"], index=[one.name for one in self.pairs])
        return frame_text(frame if any(one.note for one in self.pairs) else frame.drop(columns="note"))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        header = _row(["", *self.columns], "th")
        body = "".join(
            _row([escape(one.name), *map(_side, one.sides, one.texts), f"<b>{escape(one.prediction)}</b> {one.note}"])
            for one in self.pairs
        )
        return html_block(f"<table><thead>{header}</thead><tbody>{body}</tbody></table>")


def _side(side: str | np.ndarray, text: str) -> str:
    return escape(side) if isinstance(side, str) else html_picture(side, text, width=120)


def _row(cells: Sequence[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}><div align=left>{cell}</div></{tag}>" for cell in cells) + "</tr>"
