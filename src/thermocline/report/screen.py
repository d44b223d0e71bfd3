"""The screen that text is made for: how wide it is, text folded to a width, and colours where it can show them."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import Any

UNKNOWN_WIDTH = 100
"""Columns of text where there is no terminal and `COLUMNS` is not set."""

LEAST_WIDTH = 60
"""No text is made for fewer columns: a table of numbers would have to be cut."""

INDENT = "  "
"""Before the lines of a paragraph after its first."""

_BREAKS = "./_", "-,;=:"  # a word that is too long is broken after one of these, if need be after one of those
_LEAST_PIECE = 3  # and not so near its beginning


def known_width() -> int | None:
    """Return how many columns of text fit: `COLUMNS`, or those of the terminal; None where neither is there.

    In a notebook only `COLUMNS` counts: a terminal would be that of the server.
    """
    there = (0, 0)
    found = shutil.get_terminal_size(there).columns if "COLUMNS" in os.environ or not in_notebook() else 0
    return max(found, LEAST_WIDTH) if found else None


def screen_width() -> int:
    """Return how many columns of text fit: `COLUMNS`, or those of the terminal, or 100 where there is none."""
    return known_width() or UNKNOWN_WIDTH


def in_notebook() -> bool:
    """Return whether this is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in (getattr(shell, "config", None) or ())


def columns_of(text: str) -> int:
    """Return how many columns of a screen a text takes: letters of Chinese, Japanese and Korean take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def folded(text: str, width: int) -> list[str]:
    """Return a text as lines that are no wider than `width`, broken between words.

    A number stays with its `%`. A word that is wider is broken after a sign such as `.`, `/` or `_`, and elsewhere only
    where it has none.

    Example:
        >>> folded("encoder.layer.[0-11] trains", 12)
        ['encoder.', 'layer.[0-11]', 'trains']
    """
    lines = [""]
    for word in re.findall(r"\S+(?: %)?|\s+", text):
        while columns_of(lines[-1]) + columns_of(word) > width:
            if not lines[-1].strip():  # the word alone is too wide
                head = _head(word, width)
                lines[-1], word = head, word[len(head) :]
            lines.append("")
            word = word.lstrip()
        lines[-1] += word
    kept = [line.rstrip() for line in lines]
    return kept[:-1] if len(kept) > 1 and not kept[-1] else kept


def _head(word: str, width: int) -> str:
    """Return the first part of a word that is too wide; at least one letter."""
    end = 1
    while end < len(word) and columns_of(word[: end + 1]) <= width:
        end += 1
    for signs in _BREAKS:
        good = max((place + 1 for place in range(end) if word[place] in signs), default=0)
        if good > _LEAST_PIECE:
            return word[:good]
    return word[:end]


def paragraph(text: str, indent: str = INDENT) -> str:
    """Return a line as a paragraph that fits the screen, where the screen's width is known; else as it is.

    Args:
        text: The line.
        indent: What stands before its lines after the first.
    """
    width = known_width()
    if width is None or columns_of(text) <= width:
        return text
    first, *rest = folded(text, width)
    if not rest:
        return first
    more = folded(text[len(first) :].lstrip(), width - len(indent))
    return "\n".join([first, *(indent + line for line in more)])


def end_cut(text: str, width: int) -> str:
    """Return a text with `…` at its end where it is wider than `width`."""
    if columns_of(text) <= width:
        return text
    end = len(text)
    while columns_of(text[:end]) >= width:
        end -= 1
    return f"{text[:end].rstrip()}…"


def middle_cut(text: str, width: int) -> str:
    """Return a text with `…` in its middle where it is wider than `width`."""
    if columns_of(text) <= width:
        return text
    begin, end = (width - 1) // 2, width // 2
    while columns_of(text[:begin]) + columns_of(text[len(text) - end :]) >= width and begin > 1:
        begin, end = begin - 1, max(end - 1, 1)
    return f"{text[:begin]}…{text[len(text) - end :]}"


def shows_colours(stream: Any) -> bool:
    """Return whether a stream is a terminal or a notebook's output, and nothing says that it is to be plain.

    `NO_COLOR` (https://no-color.org) and `TERM=dumb` say so.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return bool(stream.isatty()) or in_notebook()
    except (AttributeError, ValueError):  # a stream that does not know; a closed one
        return False


def painted(text: str, style: str) -> str:
    """Return a text with the codes of a terminal for a style of `rich`, such as `bold` or `green`."""
    from rich.color import ColorSystem
    from rich.style import Style

    made = Style.parse(style)
    return "\n".join(made.render(line, color_system=ColorSystem.STANDARD) for line in text.split("\n"))
