"""What the parts of a row add to a prediction: as text, as coloured words in HTML, and as a figure."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from thermocline.contracts.showing import CellParts
from thermocline.errors import counted, escaped
from thermocline.report.pictures import draw_picture, headings, html_picture
from thermocline.report.plots import look, pyplot
from thermocline.report.screen import end_cut
from thermocline.report.svg import GREY
from thermocline.report.tables import html_block, html_cells, html_lines, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PARTS = 8  # of a cell on the screen
MOST_FIELDS = 1024  # of a picture: of more each is a pixel, which says nothing alone
MOST_BARS = 15  # of a cell in a figure
RAISES, LOWERS = (214, 96, 28), (38, 122, 184)
"""The colours of parts that raise and that lower the number: orange and blue, which colour-blind people tell apart."""

DARKEST = 70.0
"""The level of grey of what is black in a picture below a heat map, so that blue shows on it."""

_LINE = "line-height:1.9;max-width:56em;overflow-wrap:anywhere"


@dataclass(frozen=True, repr=False)
class Attribution:
    """What the words, fields and cells of one row add to what the model predicts for it.

    It prints, shows in a notebook with words coloured and images as heat maps, and draws with `plot()`. Made by
    `Predictor.attribution`.

    Attributes:
        what: The number that is explained, such as `probability of 'numpy'`.
        value: What it is for the row.
        method: `occlusion`, or a method of gradients.
        how: What that is, in words.
        row: The row's name in the frame's index.
        cells: The parts of each column, with what each adds: above 0 it raises the number.
        notes: What a reader should know.
        signed: Whether values have a sign.

    Example:
        >>> parts = CellParts("note", ("leave", " tomorrow"), np.array([-0.02, 0.3]))
        >>> print(Attribution("probability of 'high'", 0.9, "occlusion", "parts are hidden", "7", (parts,)))
        row 7: probability of 'high': 0.9; parts are hidden
        column  part       adds
        note    tomorrow   0.30
                leave     -0.02
    """

    what: str
    value: float
    method: str
    how: str
    row: str
    cells: tuple[CellParts, ...]
    notes: tuple[str, ...] = ()
    signed: bool = True

    def to_frame(self) -> pd.DataFrame:
        """Return a frame with the columns `column`, `part` and `adds`, in the order of the parts.

        A part of a picture is called by its row and column of the grid, such as `field 2, 5`, from 0 at the upper left.

        Example:
            >>> made = Attribution("y", 2.0, "occlusion", "", "0", (CellParts("x", ("1.5",), np.array([0.5])),))
            >>> made.to_frame().to_dict("list")
            {'column': ['x'], 'part': ['1.5'], 'adds': [0.5]}
        """
        cells = [(one.column, name, value) for one in self.cells for name, value in _named(one)]
        return pd.DataFrame(cells, columns=["column", "part", "adds"])

    def _title(self) -> str:
        return f"row {self.row}: {self.what}: {self.value:.3g}; {self.how}"

    def __str__(self) -> str:
        size = self._size()
        lines: list[list[str]] = []
        for one in self.cells:
            named = sorted(_named(one), key=lambda part: -abs(part[1]))
            if one.picture is not None and one.values.size > MOST_FIELDS:
                height, width = one.values.shape
                lines.append([one.column, f"{width}×{height} pixels, which plot() draws", ""])
                continue
            shown = [[escaped(name), _number(value, size)] for name, value in named[:MOST_PARTS]] or [["missing", ""]]
            if len(named) > MOST_PARTS:
                shown.append([f"and {counted(len(named) - MOST_PARTS, 'other part')}", ""])
            lines += [[one.column if place == 0 else "", *cells] for place, cells in enumerate(shown)]
        header = ["column", "part", "adds" if self.signed else "size"]
        return "\n".join([*headings([self._title(), *self.notes]), table(lines, header, right=[2])])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        notes = "".join(f"<div class=f>{escape(note)}</div>" for note in self.notes)
        blocks = "".join(self._html_cell(one) for one in self.cells if one.picture is not None or len(one.values) > 1)
        single = [one for one in self.cells if one.picture is None and len(one.values) <= 1]
        table_of_single = self._html_single(single) if single else ""
        return html_block(html_lines([self._title()], strong=True), notes, self._legend()) + blocks + table_of_single

    def _legend(self) -> str:
        if not self.signed:
            return f"<div>{_marked('matters', 0.5)} the darker the more</div>"
        return f"<div>{_marked('raises it', 0.5)} {_marked('lowers it', -0.5)} up to {self._size():.2g}</div>"

    def _html_cell(self, one: CellParts) -> str:
        name = f"<div class=w>{escape(one.column)}</div>"
        if one.picture is not None:
            most = f"<div class=f>{_most(one)}</div>"
            return f"<div class=tcl>{name}{html_picture(_overlaid(one), one.column, width=360)}{most}</div>"
        size = self._size() or 1.0
        words = "".join(
            _marked(text, value / size, title=_number(value, size))
            for text, value in zip(one.texts, one.values.tolist(), strict=True)
        )
        return f"<div class=tcl>{name}<div style='{_LINE}'>{words}</div></div>"

    def _html_single(self, cells: list[CellParts]) -> str:
        """Return cells that are one part as a table, coloured alike."""
        size, body = self._size() or 1.0, ""
        for one in cells:
            value = float(one.values[0]) if len(one.values) else 0.0
            text = _marked(one.texts[0], value / size) if len(one.values) else "missing"
            body += f"<tr>{html_cells([one.column])}<td>{text}</td>{html_cells([_number(value, size)], [0])}</tr>"
        header = html_cells(["column", "cell", "adds"], [2], tag="th")
        return f"<table class=tcl><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"

    def _size(self) -> float:
        """Return the largest of what parts add."""
        return max((float(np.abs(one.values).max()) for one in self.cells if one.values.size), default=0.0)

    def plot(self) -> Figure:
        """Draw a heat map over each image, and bars for the words and cells that add most.

        Returns:
            A figure that no one has to close.

        Example:
            >>> predictor.attribution(test.iloc[[0]]).plot().savefig("parts.png")
        """
        single = [one for one in self.cells if one.picture is None and len(one.values) <= 1]
        drawn = [one for one in self.cells if one not in single]
        if single:
            texts = tuple(f"{one.column} = {text}" for one in single for text in one.texts)
            values = np.concatenate([one.values for one in single])
            drawn.append(CellParts("cells" if len(single) > 1 else single[0].column, texts, values))
        title = f"row {self.row}: {self.what}: {self.value:.3g} ({self.method})".replace("$", r"\$")
        with look():
            figure: Figure = pyplot().figure(figsize=(4.6 * len(drawn), 4.2), layout="constrained")
            for place, one in enumerate(drawn, 1):
                ax = figure.add_subplot(1, len(drawn), place)
                if one.picture is not None:
                    _draw_heat(ax, one, signed=self.signed)
                else:
                    _draw_bars(ax, one)
            figure.suptitle(title, fontsize=10)
            pyplot().close(figure)  # a notebook would show an open figure a second time
        return figure


def _named(one: CellParts) -> list[tuple[str, float]]:
    """Return the parts of a cell by name."""
    if one.picture is None:
        return list(zip((text.strip() for text in one.texts), one.values.tolist(), strict=True))
    return [(f"field {i}, {j}", float(value)) for (i, j), value in np.ndenumerate(one.values)]


def _number(value: float, size: float) -> str:
    return f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def _marked(text: str, share: float, title: str = "") -> str:
    """Return a text on a ground of the colour of what it adds; the letters keep the page's colour.

    Args:
        text: Such as a word with the white space before it.
        share: From -1 to 1.
        title: What shows when the pointer is on it.
    """
    red, green, blue = RAISES if share > 0 else LOWERS
    said = f" title='{escape(title, quote=True)}'" if title else ""
    space = text[: len(text) - len(text.lstrip())]
    style = f"background:rgba({red},{green},{blue},{min(abs(share), 1.0) * 0.6:.2f});border-radius:3px;padding:1px 2px"
    return f"{escape(space)}<span style='{style}'{said}>{escape(text.strip())}</span>"


def _most(one: CellParts) -> str:
    """Return by how much a field or pixel of a picture adds at most: its colours are on a scale of their own."""
    unit = "field" if one.values.size <= MOST_FIELDS else "pixel"
    return f"full colour is {_scale(one):.2g} a {unit}"


def _scale(one: CellParts) -> float:
    """Return what the fullest colour of a picture stands for."""
    sizes = np.abs(one.values)
    return float(np.quantile(sizes, 0.99) if sizes.size > MOST_FIELDS else sizes.max())


def _heat(one: CellParts) -> tuple[np.ndarray, np.ndarray]:
    """Return colours uint8 `(height, width, 3)` and opacities `(height, width)` of what the parts of a picture add."""
    from PIL import Image

    assert one.picture is not None
    height, width, _ = one.picture.shape
    shares = np.clip(one.values / (_scale(one) or 1.0), -1, 1).astype(np.float32)
    wide = np.asarray(Image.fromarray(shares).resize((width, height), Image.Resampling.NEAREST))
    colours = np.where(wide[..., None] > 0, np.array(RAISES), np.array(LOWERS))
    return colours.astype(np.uint8), np.abs(wide)


def _overlaid(one: CellParts) -> np.ndarray:
    """Return a picture in grey with its heat map over it, uint8 `(height, width, 3)`."""
    assert one.picture is not None
    colours, strength = _heat(one)
    grey = DARKEST + (1 - DARKEST / 255) * one.picture.mean(axis=2, keepdims=True)
    shown = 0.75 * strength[..., None]
    return np.asarray((1 - shown) * np.repeat(grey, 3, axis=2) + shown * colours, dtype=np.uint8)


def _draw_heat(ax: Axes, one: CellParts, *, signed: bool) -> None:
    draw_picture(ax, _overlaid(one))
    ax.set_title(one.column.replace("$", r"\$"), fontsize=9)
    meaning = "orange raises it, blue lowers it" if signed else "the more orange, the more it matters"
    ax.set_xlabel(f"{meaning}\n{_most(one)}", fontsize=8)


def _draw_bars(ax: Axes, one: CellParts) -> None:
    named = sorted(_named(one), key=lambda part: -abs(part[1]))[:MOST_BARS][::-1]
    colours = [tuple(level / 255 for level in (RAISES if value > 0 else LOWERS)) for _, value in named]
    ax.barh(range(len(named)), [value for _, value in named], color=colours)
    ax.set_yticks(range(len(named)), [_short(name).replace("$", r"\$") for name, _ in named], fontsize=8)
    ax.axvline(0, color=GREY, lw=1)
    ax.locator_params(axis="x", nbins=5)
    ax.set_title(one.column.replace("$", r"\$"), fontsize=9)
    ax.set_xlabel("adds", fontsize=8)


def _short(text: str) -> str:
    return end_cut(escaped(text), 28)
