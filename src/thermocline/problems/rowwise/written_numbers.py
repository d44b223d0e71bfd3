"""Numbers of a label as people write them: Python objects, text, currencies, thousands, decimal commas."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from thermocline.data.row_names import plain
from thermocline.data.values import CODE, number_or_none, spells_missing

_MARK = r"[$€£¥₹₩₽%]|USD|EUR|GBP|CHF|JPY|CNY|INR"
_MARKED = re.compile(rf"([+-]?)\s*({_MARK})?\s*([+-]?)\s*(\S|\S.*?\S)\s*({_MARK})?", re.DOTALL)
_SEPARATORS = ((",", "."), (".", ","), ("'", "."), ("’", "."), (" ", "."), (" ", ","))  # thousands, decimals
_LONGEST = 40  # characters: what is longer is no number
_SPACES = re.compile("[\u00a0\u202f\u2009]")


class NumberForm(NamedTuple):
    """How the numbers of a column of text are written beyond what Python reads.

    Attributes:
        mark: A currency or `%` before or after each number, or an empty string.
        thousands: What separates groups of three digits.
        decimal: What separates the fraction.
    """

    mark: str
    thousands: str
    decimal: str

    def parse(self, text: str) -> float | None:
        """Return the number, NaN for a word that means missing, else None."""
        if spells_missing(text):
            return math.nan
        number = number_or_none(text) if self.decimal == "." else None
        if number is not None:
            return number
        parts = _parts(text)
        if parts is None or parts[1] not in {"", self.mark} or not _grouped(self.thousands, self.decimal, parts[2]):
            return None
        sign, _, body = parts
        return sign * float(body.replace(self.thousands, "").replace(self.decimal, "."))

    @property
    def note(self) -> str:
        """What the separators and the mark are taken for, in words."""
        words = {",": "commas", ".": "dots", "'": "apostrophes", "’": "apostrophes", " ": "spaces"}
        marked = f" with {self.mark!r}" if self.mark else ""
        decimal = "; commas separate decimals" if self.decimal == "," else ""
        return f"{marked} ({words[self.thousands]} separate thousands{decimal})"


@dataclass(frozen=True)
class WrittenNumbers:
    """Numbers that were found in a column of another dtype.

    Attributes:
        values: float64 `(n,)`, NaN where missing or no number.
        bad: Which values are no numbers `(n,)`.
        form: How they are written; None for what Python reads.
        how: What they are, in words.
    """

    values: np.ndarray
    bad: np.ndarray
    form: NumberForm | None
    how: str


def read_numbers(series: pd.Series[Any]) -> WrittenNumbers | None:
    """Return the numbers that the values of an object or text column are; None where it holds none, or codes.

    A category stays a category, true and false are no numbers, and a leading zero marks a code, as in features.
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        return None
    if series.dtype != object and not pd.api.types.is_string_dtype(series.dtype):
        return None
    cells = [plain(value) for value in series.astype(object)]
    texts = list(dict.fromkeys(cell for cell in cells if isinstance(cell, str)))
    if any(isinstance(cell, bool) for cell in cells) or any(CODE.fullmatch(text.strip()) for text in texts):
        return None
    form = find_form(texts)
    values, bad = parse_cells(cells, form)
    if np.isnan(values).all():
        return None
    how = f"written as text{form.note if form else ''}" if texts else "as Python objects"
    return WrittenNumbers(values, bad, form, how)


def find_form(texts: Sequence[str]) -> NumberForm | None:
    """Return the form in which all texts are numbers; None where Python reads them, or where there is no such form."""
    rest = [text for text in texts if not spells_missing(text)]
    if all(number_or_none(text) is not None for text in rest):
        return None
    parts = [_parts(text) for text in rest]
    marks = {found[1] if found else "?" for found in parts}
    if len(marks - {""}) > 1 or "?" in marks or marks == {"", "%"}:
        return None
    for thousands, decimal in _SEPARATORS:
        if all(found is not None and _grouped(thousands, decimal, found[2]) for found in parts):
            return NumberForm(max(marks), thousands, decimal)
    return None


def parse_cells(cells: Iterable[Any], form: NumberForm | None) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers float64 `(n,)`, NaN where missing, and which cells are neither numbers nor missing `(n,)`."""
    read = form.parse if form else number_or_none
    found = [read(cell) if isinstance(cell, str) else _number(cell) for cell in cells]
    bad = np.array([number is None for number in found], dtype=bool)
    return np.array([math.nan if number is None else number for number in found], dtype=np.float64), bad


def without_decimals(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return the series with `Decimal` and `Fraction` values as int or float, which JSON holds; others unchanged."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        exact = {value: _inexact(value) for value in series.cat.categories}
        if not any(isinstance(value, (Decimal, Fraction)) for value in exact):
            return series
        return series.cat.rename_categories([exact[value] for value in series.cat.categories])
    if series.dtype != object and not str(series.dtype).startswith("decimal"):
        return series
    cells = series.astype(object).to_numpy()
    if not any(isinstance(value, (Decimal, Fraction)) for value in cells):
        return series
    return pd.Series([_inexact(value) for value in cells], index=series.index, name=series.name, dtype=object)


def _inexact(value: Any) -> Any:
    if not isinstance(value, (Decimal, Fraction)):
        return value
    number = float(value)
    return int(value) if math.isfinite(number) and value == int(value) else number


def _number(cell: Any) -> float | None:
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return math.nan
    if not isinstance(plain(cell), (numbers.Real, Decimal)):
        return None
    try:
        return float(cell)
    except OverflowError:
        return math.inf if cell > 0 else -math.inf


def _parts(text: str) -> tuple[int, str, str] | None:
    """Return sign, mark and digits of a written number; None where it has two signs or two marks."""
    text = text.strip()
    found = _MARKED.fullmatch(_SPACES.sub(" ", text)) if len(text) <= _LONGEST else None
    if found is None:
        return None
    outer, before, inner, body, after = found.groups()
    if (outer and inner) or (before and after):
        return None
    return -1 if "-" in (outer, inner) else 1, before or after or "", body


def _grouped(thousands: str, decimal: str, body: str) -> bool:
    """Whether digits are a number with these separators; groups have three digits, the first not beginning with 0."""
    one, point = re.escape(thousands), re.escape(decimal)
    return bool(re.fullmatch(rf"(\d+|[1-9]\d{{0,2}}({one}\d{{3}})+)({point}\d*)?|{point}\d+", body, re.ASCII))
