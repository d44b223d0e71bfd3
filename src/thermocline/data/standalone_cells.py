"""Cells of rows as numbers, categories and texts, without pandas: as `data.values` and `data.column_values` read them.

The modules named `standalone…` are the source of `run.py` beside an exported model (`export/program.py`). They import
the standard library, numpy, Pillow and tokenizers only, and each other; imports of each other are left out where they
are put into one file.
"""

from __future__ import annotations

import datetime
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

WORDS_FOR_MISSING = frozenset({"nan", "na", "n/a", "#n/a", "null", "none", "<na>", "nat"})
TRUTH_WORDS = {"true": True, "false": False}
PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
LEADING_ZERO = re.compile(r"[+-]?0\d+")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def cell_of(row: Mapping[Any, Any], name: Any) -> Any:
    """Return a row's cell; None where it is missing.

    Raises:
        ValueError: The row has no such column.
    """
    for key in (name, str(name)):
        if key in row:
            value = row[key]
            nothing = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))
            return None if nothing else value
    raise ValueError(f"A row has no column {name!r}; it has {list(row)}.")


def text_of(value: Any) -> str | None:
    """Return the text of a plain value, None where there is none: 1 and 1.0 are "1".

    Raises:
        ValueError: It is a list, bytes or anything else without a text.
    """
    if isinstance(value, str):
        return whole_letters(value).strip() or None
    if value is None or value != value:
        return None
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating, Decimal)):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (datetime.timedelta, np.datetime64, np.timedelta64, complex)) or hasattr(value, "__fspath__"):
        return str(value)
    raise ValueError(f"A cell holds {type(value).__name__}, where a plain value is expected.")


def whole_letters(text: str) -> str:
    """Return a text that can be written as UTF-8: half a surrogate pair becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def number_of(value: Any, form: str) -> float:
    """Return a numeric cell, NaN where it is missing; dates are days since 1970 (UTC), durations are days.

    Args:
        value: The cell.
        form: How the column writes its numbers (`Column.form`).

    Raises:
        ValueError: It is no finite number, or no date.
    """
    text = value.strip() if isinstance(value, str) else text_of(value)
    if text is None or not text or text.lower() in WORDS_FOR_MISSING:
        return math.nan
    if form.startswith("date"):
        return _days(value, text, form[5:] or "ISO8601")
    if isinstance(value, (datetime.timedelta, np.timedelta64)):
        return float(np.timedelta64(value) / np.timedelta64(1, "D"))
    number = _spelled(text) if isinstance(value, str) else float(value)
    if number is None or math.isinf(number):
        raise ValueError(f"{value!r} is no finite number.")
    return number


def _spelled(text: str) -> float | None:
    if PLAIN_NUMBER.fullmatch(text):
        return float(text)
    word = text.lower()
    return float(TRUTH_WORDS[word]) if word in TRUTH_WORDS else None


def _days(value: Any, text: str, form: str) -> float:
    moment = value
    if isinstance(value, np.datetime64):
        moment = value.astype("datetime64[us]").item()
    elif not isinstance(value, datetime.date):
        moment = _iso(text) if form == "ISO8601" else datetime.datetime.strptime(text, form)
    if not isinstance(moment, datetime.datetime):
        moment = datetime.datetime(moment.year, moment.month, moment.day)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return ((moment - EPOCH) // datetime.timedelta(microseconds=1)) / 86_400_000_000


def _iso(text: str) -> datetime.datetime:
    for form in ("%Y", "%Y-%m"):  # what Python does not call ISO
        try:
            return datetime.datetime.strptime(text, form)
        except ValueError:
            continue
    return datetime.datetime.fromisoformat(text)


def category_of(value: Any, form: str) -> str | None:
    """Return the text of a category, None where it is missing.

    Args:
        value: The cell.
        form: `category`, `number category` or `boolean`.
    """
    text = text_of(value)
    if text is None:
        return None
    if form == "boolean":
        if text.lower() in TRUTH_WORDS:
            return str(TRUTH_WORDS[text.lower()])
        number = _number_text(text)
        return str(bool(number)) if number in (0.0, 1.0) else text
    if form == "number category" and isinstance(value, str) and not LEADING_ZERO.match(text):
        number = _number_text(text)
        if re.fullmatch(r"[+-]?\d{1,300}", text):
            return str(int(text))
        return text if number is None else text_of(number)
    return text


def _number_text(text: str) -> float | None:
    """Return the number that a text spells, NaN where it spells missing."""
    if text.lower() in WORDS_FOR_MISSING:
        return math.nan
    return float(text) if PLAIN_NUMBER.fullmatch(text) else None


class Categories:
    """Category → its place in a vocabulary + 1, 0 where it is missing or unknown.

    Args:
        vocabulary: The categories.
        form: How they are written.
    """

    def __init__(self, vocabulary: Sequence[str], form: str) -> None:
        self.form = form
        self.places = {text: place for place, text in enumerate(vocabulary, 1)}
        counts = Counter(_meaning(text) for text in vocabulary)
        self.meanings = {_meaning(text): at for text, at in self.places.items() if counts[_meaning(text)] == 1}

    def code(self, value: Any) -> int:
        """Return the number of a cell's category."""
        text = category_of(value, self.form)
        code = 0 if text is None else self.places.get(text, 0)
        typed = isinstance(value, (bool, np.bool_, int, float, np.number))
        if code or self.form != "category" or not typed:
            return code
        return self.meanings.get(_meaning(str(text)), 0)  # a number is the category that means the same: 7 is "007"


def _meaning(text: str) -> object:
    number = _number_text(text)
    return text.lower() if text.lower() in TRUTH_WORDS else text if number is None or number != number else number
