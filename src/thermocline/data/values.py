"""Parses a cell, or a column of them, as a number, a date or a text.

Inference, fitting and prediction all read values here, so that a column means the same thing each time.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# What `read_csv` takes for missing is missing in frames built by hand too, among numbers and dates.
MISSING_WORDS = frozenset({"nan", "na", "n/a", "#n/a", "null", "none", "<na>", "nat"})
CODE = re.compile(r"[+-]?0\d+")  # a leading zero marks a code (a postcode, an article number), not a number
TRUTH = {"true": True, "false": False}
SURROGATE = re.compile("[\ud800-\udfff]")
INFINITE = frozenset({"inf", "infinity"})
DAY = 86_400_000_000_000  # nanoseconds


def is_broken(text: str) -> bool:
    """Whether a text holds half a surrogate pair, or two: it cannot be written as UTF-8."""
    return not text.isascii() and SURROGATE.search(text) is not None


def well_formed(text: str) -> str:
    """Return a text in which two halves of a surrogate pair are the character they mean, and half of one is U+FFFD."""
    if not is_broken(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def stable_text(value: object) -> str | None:
    """Return the text of a scalar, equal for equal values of any dtype: 1 and 1.0 are "1", True is "True".

    Missing and blank are None, and blanks around a text are dropped.

    Raises:
        TypeError: A value that has no such text: bytes, a list, a dict, an array, an image.
    """
    if isinstance(value, str):
        return well_formed(value).strip() or None
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating, Decimal)):
        number = float(value)
        if math.isnan(number):
            return None
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    plain = (datetime.timedelta, np.datetime64, np.timedelta64, pd.Period, pd.Interval, Path, complex)
    if isinstance(value, plain):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no plain text")


def spells_missing(text: str) -> bool:
    """Whether a text is blank or a word that means missing."""
    text = text.strip()
    return not text or text.lower() in MISSING_WORDS


def number_or_none(text: str) -> float | None:
    """Return the number that a text spells, NaN where it spells missing, else None."""
    text = text.strip()
    if spells_missing(text):
        return math.nan
    return float(text) if NUMBER.fullmatch(text) else None


def plain_numbers(texts: Sequence[str]) -> np.ndarray | None:
    """Return the numbers float64 `(n,)` of texts that all are plain numbers, else None; fast."""
    if not texts or not re.fullmatch(r"[0-9.eE+\-\n]*", "\n".join(texts)):
        return None
    try:
        return np.array(texts, dtype=object).astype(np.float64)
    except ValueError:
        return None


def spelled_number(text: str) -> float | None:
    """Return the number of a cell in a column of numbers: also 1 and 0 for true and false, and infinities."""
    number = number_or_none(text)
    if number is not None:
        return number
    word = text.strip().lower()
    if word in TRUTH:
        return float(TRUTH[word])
    return float(word) if word.lstrip("+-") in INFINITE else None


def truth_text(value: object) -> str | None:
    """Return `True` or `False` for the ways to write them (1 and 0 too), else the value's text."""
    text = stable_text(value)
    if text is None:
        return None
    word = text.lower()
    if word in TRUTH:
        return str(TRUTH[word])
    number = number_or_none(text)
    return str(bool(number)) if number in {0.0, 1.0} else text


def number_text(value: object) -> str | None:
    """Return a number's text, equal for equal numbers however they are written, else the value's text."""
    text = stable_text(value)
    if text is None or not isinstance(value, str) or CODE.match(text):
        return text
    number = number_or_none(text)
    if number is None:
        return text
    return str(int(text)) if re.fullmatch(r"[+-]?\d{1,300}", text) else stable_text(number)


def parse_dates(texts: Iterable[str | None], form: str) -> np.ndarray:
    """Return days since 1970 as float64, NaN where a text is no date of that format.

    Args:
        texts: The texts; None gives NaN.
        form: A strptime format, or `ISO8601`. Times with a zone are taken to UTC, others read as UTC.
    """
    values = pd.Series([None if t is None or t.lower() in MISSING_WORDS else t for t in texts], dtype=object)
    parsed = pd.to_datetime(values, format=form, errors="coerce", utc=True)
    return _days(parsed)


def _days(moments: pd.Series[Any]) -> np.ndarray:
    """Return moments (datetime64, any unit or zone) as days since 1970."""
    if getattr(moments.dtype, "tz", None) is not None:
        moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
    raw = moments.to_numpy(dtype="datetime64[us]", na_value=np.datetime64("NaT"))
    days = (raw.astype(np.int64) / (DAY / 1000)).astype(np.float64)
    days[np.isnat(raw)] = np.nan
    return days


def parse_numbers(series: pd.Series[Any], form: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers and a mask of the values that are neither numbers nor missing, both `(n,)`."""
    dtype = series.dtype
    fine = np.zeros(len(series), dtype=bool)
    if isinstance(dtype, pd.CategoricalDtype):
        return parse_numbers(series.astype(object), form)
    if isinstance(dtype, pd.PeriodDtype) or pd.api.types.is_datetime64_any_dtype(dtype):
        moments = series.dt.to_timestamp() if isinstance(dtype, pd.PeriodDtype) else series
        return (_days(moments), fine) if form.startswith("date") else _none_fits(series)
    if is_duration(dtype):
        if form != "duration":
            return _none_fits(series)
        spans = series.to_numpy(dtype="timedelta64[ns]", na_value=np.timedelta64("NaT"))
        return spans / np.timedelta64(DAY, "ns"), fine
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        if form.startswith("date"):  # an all-missing column has a float dtype, and is fine
            return _none_fits(series)
        return series.to_numpy(dtype=np.float64, na_value=np.nan), fine
    values = series.astype(object).to_numpy()
    if form.startswith("date"):
        return _parse_each_date(values, form[5:] or "ISO8601")
    return _parse_each_number(values)


def _none_fits(series: pd.Series[Any]) -> tuple[np.ndarray, np.ndarray]:
    return np.full(len(series), np.nan), series.notna().to_numpy(dtype=bool)


def as_float(value: Any) -> float:
    """Return a number as float; one that is too large for that is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def is_duration(dtype: object) -> bool:
    """Whether a dtype is one of time spans, numpy's or arrow's."""
    return pd.api.types.is_timedelta64_dtype(dtype) or str(dtype).startswith("duration[")  # type: ignore[arg-type]


def _parse_each_number(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    seen: dict[object, float | None] = {}
    result = np.full(len(values), np.nan)
    text = np.array([isinstance(value, str) for value in values], dtype=bool)
    plain = plain_numbers(values[text].tolist())
    if plain is not None and pd.isna(values[~text]).all():
        result[text] = plain
        return result, np.zeros(len(values), dtype=bool)
    bad = np.zeros(len(values), dtype=bool)
    for row, value in enumerate(values):
        number: float | None
        if isinstance(value, (bool, np.bool_, int, float, np.integer, np.floating, Decimal)):
            number = as_float(value)
        elif isinstance(value, datetime.timedelta):
            number = value / datetime.timedelta(days=1)
        elif isinstance(value, str):
            number = seen[value] if value in seen else seen.setdefault(value, spelled_number(value))
        else:
            written = _text_or(value, "?")
            number = math.nan if written is None else number_or_none(written)
        bad[row] = number is None
        result[row] = math.nan if number is None else number
    return result, bad


def _parse_each_date(values: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
    texts = [_text_or(value, "?") for value in values]
    is_text = np.array([isinstance(value, str) for value in values], dtype=bool)
    days = parse_dates([t if s else None for t, s in zip(texts, is_text, strict=True)], form)
    if not is_text.all():  # dates as Python objects need no format
        objects = parse_dates([None if s else t for t, s in zip(texts, is_text, strict=True)], "ISO8601")
        days = np.where(is_text, days, objects)
    given = np.array([t is not None and t.lower() not in MISSING_WORDS for t in texts], dtype=bool)
    return days, given & np.isnan(days)


def _text_or(value: object, otherwise: str) -> str | None:
    try:
        return stable_text(value)
    except TypeError:
        return otherwise
