"""Rows as a model reads them, with labels and perhaps answers: as text, as HTML and as a figure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from thermocline.contracts.showing import Answer, View
from thermocline.errors import counted, escaped
from thermocline.report.pictures import draw_picture, headings, html_picture, side_by_side
from thermocline.report.plots import look, pyplot
from thermocline.report.screen import screen_width
from thermocline.report.svg import GREY
from thermocline.report.tables import html_block, html_lines, html_table

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 4  # of a text on the screen and in a figure
MOST_CELLS = 8  # of a row's short cells on the screen
MOST_LETTERS = 1500  # of a text in HTML
WIDE = 0.5  # height of a picture by its width, below which two stand side by side in a figure and not three
PLOT_LETTERS = 44  # a line in a figure
MARKS = {True: "✓ right", False: "✗ wrong", None: ""}
_COLOURS = {True: "#12805c", False: "#c8501e", None: ""}

_STYLE = (
    "<style>.tcr{display:flex;flex-wrap:wrap;gap:10px;font:13px/1.4 system-ui,sans-serif}"
    ".tcr>div{border:1px solid #8886;border-radius:6px;padding:8px 10px;width:280px;overflow-wrap:break-word}"
    ".tcr .tcl td,.tcr .tcl th{padding-right:8px!important;white-space:normal!important}"
    ".tcr .tcl td>div{min-width:0!important}"
    ".tcr p{margin:4px 0;max-height:9.8em;overflow:auto}.tcr .h{font-weight:600}.tcr .f{opacity:.65;font-size:12px}"
    ".tcr .k{font-size:12px;font-weight:600;border-radius:4px;padding:0 5px;color:#fff!important}</style>"
)


@dataclass(frozen=True, eq=False)
class RowCard:
    """One row.

    Attributes:
        name: Its name in the frame's index.
        views: What the model reads of it.
        label: Its label as text; None where it has none.
        answer: What the model answers; None where it was not asked.
    """

    name: str
    views: tuple[View, ...]
    label: str | None = None
    answer: Answer | None = None


@dataclass(frozen=True, eq=False)
class ShownRows:
    """Rows as a model reads them, with labels, and of a fitted model with what it answers.

    It prints, shows in a notebook, and draws with `plot()`. Made by `Predictor.show_batch` and `show_results`.

    Attributes:
        title: What is shown.
        cards: A card for each row.
        notes: What a reader should know.

    Example:
        >>> print(ShownRows("1 row", (RowCard("7", (View("note", "[CLS] leave at the door [SEP]"),), "low"),)))
        1 row
        <BLANKLINE>
        row 7: low
          note  [CLS] leave at the door [SEP]
    """

    title: str
    cards: tuple[RowCard, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cards)

    def __iter__(self) -> Iterator[RowCard]:
        return iter(self.cards)

    def __str__(self) -> str:
        blocks = ["\n".join(headings([self.title, *self.notes]))]
        return "\n\n".join([*blocks, *map(_text_card, self.cards)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        lines = "".join(f"<div class=f>{escape(note)}</div>" for note in self.notes)
        cards = "".join(map(_html_card, self.cards))
        head = html_block(html_lines([self.title], strong=True), lines)
        return f"{head}{_STYLE}<div class=tcr>{cards}</div>"

    def plot(self, *, columns: int | None = None) -> Figure:
        """Draw the rows side by side.

        Args:
            columns: The most rows of the frame side by side; None: three, or two where pictures are wide.

        Returns:
            A figure that no one has to close.

        Example:
            >>> predictor.show_results(test, n=4).plot(columns=2).savefig("rows.png")
        """
        aspect = max(map(_aspect, self.cards))
        wide = min(columns or (2 if aspect < WIDE else 3), len(self.cards))
        rows = -(-len(self.cards) // wide)
        unit = 3.3 if aspect >= WIDE else 5.0  # inches
        size = (unit * wide, (0.88 * unit * min(aspect, 1.6) + 0.9) * rows)
        with look():
            figure: Figure = pyplot().figure(figsize=size, layout="constrained")
            for place, card in enumerate(self.cards, 1):
                _draw_card(figure.add_subplot(rows, wide, place), card)
            pyplot().close(figure)  # a notebook would show an open figure a second time
        return figure


def _headline(card: RowCard) -> str:
    """Return label and answer of a row in one line."""
    return ", ".join(filter(None, _said(card)))


def _said(card: RowCard) -> tuple[str, str]:
    """Return label and prediction of a row, and what is to be noted."""
    one = card.answer
    if one is None:
        return card.label or "", ""
    return (
        f"predicted {one.prediction}" if one.label is None else f"label {one.label}, predicted {one.prediction}"
    ), one.note


def _right(card: RowCard) -> bool | None:
    return None if card.answer is None else card.answer.right


def _text_card(card: RowCard) -> str:
    width = screen_width()
    head, mark = escaped(_headline(card)), MARKS[_right(card)]
    first = f"row {escaped(card.name)}" + (f": {head}" if head else "") + (f"  {mark}" if mark else "")
    lines = textwrap.wrap(first, width, subsequent_indent="  ")
    name_width = min(max((len(view.name) for view in card.views), default=0), 20)
    for view in card.views[:MOST_CELLS]:
        lines += _text_view(view, name_width, width)
    if len(card.views) > MOST_CELLS:
        lines.append(f"  and {counted(len(card.views) - MOST_CELLS, 'more column')}")
    return "\n".join(lines)


def _text_view(view: View, name_width: int, width: int) -> list[str]:
    """Return a view as lines: its name before the first, long texts cut."""
    name = escaped(view.name)
    name = name if len(name) <= name_width else name[: name_width - 1] + "…"
    text, note = escaped(" ".join(view.text.split())), view.note
    room = width - name_width - 4
    note = note if not note or view.brief else f"({note})"
    lines = textwrap.wrap(text, room, max_lines=MOST_LINES, placeholder=" …") or [""]
    if note and len(lines[-1]) + len(note) + 2 <= room:
        lines[-1] += f"{',' if view.brief else ''} {note}"
    else:
        lines += textwrap.wrap(note, room) if note else []
    starts = [name.ljust(name_width), *[" " * name_width] * (len(lines) - 1)]
    return [f"  {start}  {line}".rstrip() for start, line in zip(starts, lines, strict=True)]


def _html_card(card: RowCard) -> str:
    mark, colour = MARKS[_right(card)], _COLOURS[_right(card)]
    badge = f" <span class=k style='background:{colour}'>{escape(mark)}</span>" if mark else ""
    head = f"<div><span class=f>row {escape(card.name)}</span>{badge}</div><div class=h>{escape(_headline(card))}</div>"
    answered = None if card.answer is None else card.answer.picture
    if answered is not None:
        pictures = html_picture(answered, _headline(card), width=900)
        return f"<div style='width:auto;max-width:620px'>{head}{pictures}</div>"
    body, cells = [], []
    for view in card.views:
        if view.picture is not None:
            body.append(html_picture(view.picture, view.name) + _html_note(view.name, f"{view.text}", view.note))
        elif view.brief:
            cells.append((view.name, view.text, view.note))
        else:
            text = view.text if len(view.text) <= MOST_LETTERS else view.text[:MOST_LETTERS] + " …"
            body.append(f"<p>{escape(text)}</p>" + _html_note(view.name, view.note))
    table = html_table(cells, ["column", "cell", ""]) if cells else ""
    return f"<div>{head}{''.join(body)}{table}</div>"


def _html_note(*parts: str) -> str:
    return f"<div class=f>{escape(', '.join(part for part in parts if part))}</div>"


def _aspect(card: RowCard) -> float:
    pictures = _pictures(card)
    if not pictures:
        return 0.55
    height, width, _ = side_by_side(pictures).shape
    return float(height / width)


def _pictures(card: RowCard) -> list[np.ndarray]:
    if card.answer is not None and card.answer.picture is not None:
        return [card.answer.picture]
    return [view.picture for view in card.views if view.picture is not None]


def _draw_card(ax: Axes, card: RowCard) -> None:
    pictures = _pictures(card)
    said, note = _said(card)
    under = ", ".join(filter(None, [note, MARKS[_right(card)]]))
    ax.set_title("\n".join([*_folded(said, 2), *_folded(under, 1)]), fontsize=9, color=_COLOURS[_right(card)] or GREY)
    own = card.answer is not None and card.answer.picture is not None
    texts = [] if own else [view for view in card.views if view.picture is None]
    if pictures:
        draw_picture(ax, side_by_side(pictures))
        ax.set_xlabel("\n".join(_plot_lines(texts, 5)), fontsize=7, loc="left")
        return
    ax.set_axis_off()
    ax.text(0.02, 0.97, "\n".join(_plot_lines(texts, 13)), va="top", ha="left", fontsize=7.5, transform=ax.transAxes)


def _plot_lines(views: Sequence[View], most: int) -> list[str]:
    """Return views as lines of a figure, `most` at most."""
    lines: list[str] = []
    for view in views:
        note = f" ({view.note})" if view.note and view.brief else ""
        lines += _folded(f"{view.name}: {' '.join(view.text.split())}{note}", max(2, most - len(views)))
    return lines if len(lines) <= most else [*lines[: most - 1], "…"]


def _folded(text: str, most: int) -> list[str]:
    """Return a text as lines of a figure, without marks that matplotlib would read as formulas."""
    plain = escaped(text).replace("$", r"\$")
    return textwrap.wrap(plain, PLOT_LETTERS, max_lines=most, placeholder=" …")
