"""Lines under short headings in a column of their own: how a fit opens and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from thermocline.errors import escaped
from thermocline.report.screen import end_cut, folded, painted, screen_width
from thermocline.report.tables import html_block

_GAP = 2


@dataclass(frozen=True)
class Section:
    """A heading and what stands beside it.

    Attributes:
        heading: One short word.
        texts: Lines; each begins a new line on the screen.
        most: Lines on the screen at most.
        cut: Whether each text is cut to one line.
        where: Where the rest is to be found, in a few words.
    """

    heading: str
    texts: Sequence[str]
    most: int = 3
    where: str = ""
    cut: bool = False

    def lines(self, width: int) -> list[str]:
        """Return the lines as they stand beside the heading."""
        if self.cut:
            lines = [end_cut(escaped(text), width) for text in self.texts]
        else:
            lines = [line for text in self.texts for line in folded(escaped(text), width)]
        if len(lines) <= self.most:
            return lines
        left = f"and {len(lines) - self.most + 1} more" if self.cut else "and more"
        return [*lines[: self.most - 1], f"… {left}{': ' * bool(self.where)}{self.where}"]


@dataclass(frozen=True)
class Headed:
    """Sections below each other, those without texts left out.

    Attributes:
        title: A line above them, or nothing.
        sections: The sections.
    """

    title: str
    sections: tuple[Section, ...]

    def __str__(self) -> str:
        return "\n".join("".join(parts) for parts in self._parts())

    def in_colours(self) -> str:
        """Return the text with the codes of a terminal: title and headings are bold."""
        return "\n".join((painted(head, "bold") if head.strip() else head) + rest for head, rest in self._parts())

    def html(self) -> str:
        """Return it as an HTML table without lines."""
        rows = "".join(
            f"<tr><td class=w>{escape(one.heading)}</td><td>{'<br>'.join(map(escape, one.texts))}</td></tr>"
            for one in self._shown
        )
        title = f"<div class=w>{escape(self.title)}</div>" if self.title else ""
        return html_block(title, f"<table class=tcl><tbody>{rows}</tbody></table>")

    @property
    def _shown(self) -> list[Section]:
        return [one for one in self.sections if one.texts]

    def _parts(self) -> list[tuple[str, str]]:
        """Return each line as what is bold and what is not."""
        screen = screen_width()
        indent = max((len(one.heading) for one in self._shown), default=0) + _GAP
        out = [(end_cut(escaped(self.title), screen), "")] if self.title else []
        for one in self._shown:
            for place, line in enumerate(one.lines(screen - indent)):
                out.append(((one.heading if not place else "").ljust(indent), line))
        return out
