"""The rules that read a column's type from its values; each verdict says why.

A column of strings is, in this order: constant or missing (`null`), image paths, numbers, dates, text,
categorical. The last choice asks how many different values fifty rows typically hold, computed exactly from
all rows (Hurlbert's rarefaction). Unlike a count of distinct values, or of values that occur once, that does
not drift with the number of rows: 50 rows and the 5,000 they came from give the same answer, up to chance.
"""

from __future__ import annotations

import datetime
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.image_cells import is_empty_record
from thermocline.data.image_columns import judge_bytes, judge_images
from thermocline.data.values import CODE, TRUTH, is_duration, number_or_none, parse_dates, spells_missing, stable_text
from thermocline.data.verdict import Verdict
from thermocline.errors import counted

DRAW = 50  # rows
# How varied a column must be to be text, as the number of equally common values that would be as varied:
# (up to this many words, that number). Of 50 rows, 45, 30 and 20 differ then.
VARIED_AS = ((1, 230), (3, 44), (sys.maxsize, 22))
TOO_FEW = 10  # fewer short values than this cannot tell text from categories

ISO = re.compile(r"\d{4}-\d{1,2}(-\d{1,2})?([T ]\d.*)?")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_DAYS = (
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%Y/%m/%d",
    "%m-%d-%Y",
    "%d-%m-%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%Y.%m.%d",
    "%d %B %Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%B %d, %Y",
    "%b %d, %Y",
)


def missing_mask(series: pd.Series[Any], *, words: bool = False) -> np.ndarray:
    """Return which values are missing `(n,)`: blank strings, images without bytes and path; with `words` `N/A` too."""
    mask = series.isna().to_numpy(dtype=bool).copy()
    if pd.api.types.is_string_dtype(series.dtype) or series.dtype == object:
        values = series.astype(object).to_numpy()
        spells = spells_missing if words else _is_blank
        mask |= np.array([spells(v) if isinstance(v, str) else is_empty_record(v) for v in values], dtype=bool)
    return mask


def _is_blank(text: str) -> bool:
    return not text.strip()


def judge(series: pd.Series[Any]) -> Verdict:
    """Return the type of a column, read from its dtype and values."""
    present = series[~missing_mask(series)]
    if present.empty:
        return Verdict("null", "every value is missing")
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype) or str(dtype).startswith("dictionary<"):
        form = category_form(present.astype(object).unique().tolist())
        return _unless_constant(present, Verdict("categorical", f"dtype {_short(dtype)}", form))
    if isinstance(dtype, pd.IntervalDtype):
        return _unless_constant(present, Verdict("categorical", "dtype interval", "category"))
    if pd.api.types.is_bool_dtype(dtype):
        return _unless_constant(present, Verdict("categorical", "true or false", "boolean"))
    if isinstance(dtype, pd.PeriodDtype) or pd.api.types.is_datetime64_any_dtype(dtype):
        return _unless_constant(present, Verdict("numeric", f"dates (dtype {dtype}), as days since 1970", "date"))
    if is_duration(dtype):
        return _unless_constant(present, Verdict("numeric", f"durations (dtype {dtype}), as days", "duration"))
    if pd.api.types.is_complex_dtype(dtype):
        return Verdict("null", "complex numbers; take .real, .imag or abs() to use them")
    if pd.api.types.is_numeric_dtype(dtype):
        return _unless_constant(present, Verdict("numeric", f"dtype {dtype}", "number"))
    return _judge_objects(present.astype(object).tolist())


def _short(dtype: object) -> str:
    return "category" if isinstance(dtype, pd.CategoricalDtype) else "dictionary"


def _unless_constant(present: pd.Series[Any], verdict: Verdict) -> Verdict:
    distinct = int(present.nunique())
    if distinct == 1:
        return constant(present.iloc[0])
    if verdict.kind == "categorical":
        return Verdict(verdict.kind, f"{verdict.reason}, {distinct:,} values", verdict.form)
    return verdict


def constant(value: object) -> Verdict:
    """Return the verdict on a column that holds one value only."""
    shown = repr(value.item() if isinstance(value, np.generic) else value)
    return Verdict("null", f"constant: every value is {shown if len(shown) <= 40 else shown[:37] + '...'}")


# -- objects ---------------------------------------------------------------------------------------


def _judge_objects(values: list[Any]) -> Verdict:
    """Judge values of any Python type, none of them missing."""
    sorts = Counter(sort_of(value) for value in values)
    if len(sorts) == 1:
        sort = next(iter(sorts))
        if sort == "bytes":
            return judge_bytes(values)
        if sort in {"number", "truth", "date", "duration"} and len({stable_text(v) for v in values}) == 1:
            return constant(values[0])
        alone = {
            "number": Verdict("numeric", "Python numbers", "number"),
            "truth": Verdict("categorical", "true or false, 2 values", "boolean"),
            "date": Verdict("numeric", "dates, as days since 1970", "date"),
            "duration": Verdict("numeric", "durations, as days", "duration"),
        }
        if sort in alone:
            return alone[sort]
    odd = [value for value in values if sort_of(value) in {"other", "bytes"}]
    images = judge_images(values) if odd else None
    if images is not None:
        return images
    if odd:
        return Verdict(
            "null",
            f"{len(odd):,} of {len(values):,} values are {type(odd[0]).__name__} objects, which are not used",
        )
    texts = [text for value in values if (text := stable_text(value)) is not None]
    numbers = len(values) - sorts["string"]
    others = counted(numbers, "value that is no string", "values that are no strings")
    note = f"{others} taken as text, " if 0 < sorts["string"] < len(values) else ""
    verdict = judge_texts(texts)
    return Verdict(verdict.kind, note + verdict.reason, verdict.form)


def sort_of(value: object) -> str:
    """Return which sort of Python value this is, in one word."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, (bool, np.bool_)):
        return "truth"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes"
    if isinstance(value, (int, float, np.integer, np.floating, Decimal)):
        return "number"
    if isinstance(value, (datetime.timedelta, np.timedelta64)):
        return "duration"
    if isinstance(value, (datetime.date, np.datetime64)):
        return "date"
    try:
        stable_text(value)
    except TypeError:
        return "other"
    return "string"


# -- strings ---------------------------------------------------------------------------------------


def judge_texts(texts: Sequence[str]) -> Verdict:
    """Judge strings, none of them missing or blank."""
    counts = Counter(texts)
    if len(counts) == 1:
        return constant(texts[0])
    images = judge_images(counts)
    if images is not None:
        return images
    truths = {text.lower() for text in counts}
    if truths <= TRUTH.keys():
        return constant(texts[0]) if len(truths) == 1 else Verdict("categorical", "true or false, 2 values", "boolean")
    if all_numbers(counts) and not any(CODE.match(text) for text in counts):
        return Verdict("numeric", f"all {len(texts):,} strings are numbers", "number as text")
    form, note = date_form(list(counts))
    note = note or _nearly_numbers(counts)
    if form:
        return Verdict(
            "numeric",
            f"all {len(texts):,} strings are dates like {texts[0]!r}, as days since 1970",
            f"date:{form}",
        )
    return _text_or_category(counts, note)


def category_form(values: Iterable[Any]) -> str:
    """Return how categories are written, none of them missing: `boolean`, `number category` or `category`.

    Numbers are categories as numbers (7 is 7.0) unless one has a leading zero, or two are written in different ways
    (1.1 and 1.10), which marks them as names.
    """
    texts = {text for value in values if (text := stable_text(value)) is not None}
    if {text.lower() for text in texts} <= TRUTH.keys():
        return "boolean"
    numbers = [None if CODE.match(text) else number_or_none(text) for text in texts]
    known = {number for number in numbers if number is not None and number == number}
    return "number category" if len(known) == len(texts) else "category"


def all_numbers(distinct: Sequence[str] | Counter[str]) -> bool:
    """Whether each text is a number or a word for missing, and one at least is a number."""
    numbers = [number_or_none(text) for text in distinct]
    return all(number is not None for number in numbers) and any(number == number for number in numbers)


def _nearly_numbers(counts: Counter[str]) -> str:
    """Return a note where a few values keep a column from being numeric, else an empty string."""
    odd = {text: count for text, count in counts.items() if number_or_none(text) is None or CODE.match(text)}
    total, others = sum(counts.values()), sum(odd.values())
    if not odd or others > 0.1 * total:
        return ""
    return f"{total - others:,} of {total:,} values are numbers, but not {next(iter(odd))[:20]!r}; "


def _text_or_category(counts: Counter[str], note: str) -> Verdict:
    total = sum(counts.values())
    words = float(np.median([len(text.split()) for text in counts]))
    rows = min(DRAW, total)
    varied = different_in(np.fromiter(counts.values(), dtype=np.int64), rows)
    like = next(number for most, number in VARIED_AS if words <= most)
    needed = like * (1 - (1 - 1 / like) ** rows)
    length = f"typically {words:.0f} word{'' if round(words) == 1 else 's'}"
    held = f"{rows} rows hold about {varied:.0f} different values ({length}"
    if words <= 3 and total < TOO_FEW:
        return Verdict("categorical", f"{note}{len(counts)} short values in {total} rows", "category")
    if varied >= needed:
        return Verdict("text", f"{note}{held}; {needed:.0f} make it text)", "text")
    return Verdict("categorical", f"{note}{len(counts):,} values; {held}; {needed:.0f} would make it text)", "category")


def different_in(counts: np.ndarray, rows: int) -> float:
    """Return how many different values `rows` rows hold on average, drawn without replacement.

    Args:
        counts: How often each value occurs, `(distinct,)`.
        rows: Rows drawn, at most `counts.sum()`.
    """
    total = int(counts.sum())
    # P(a value is not drawn) = C(total - count, rows) / C(total, rows), as a product of `rows` factors
    sizes, many = np.unique(counts, return_counts=True)
    steps = np.arange(rows)
    left = np.clip((total - sizes[:, None] - steps) / (total - steps), 0.0, None)
    return float(((1.0 - left.prod(axis=1)) * many).sum())


def date_form(distinct: Sequence[str]) -> tuple[str, str]:
    """Return the one date format that fits all texts, or "" with a note where two formats disagree."""
    if not all(re.search(r"\d", text) and 6 <= len(text) <= 40 for text in distinct):
        return "", ""
    if all(ISO.fullmatch(text) for text in distinct):
        return ("ISO8601", "") if not np.isnan(parse_dates(distinct, "ISO8601")).any() else ("", "")
    found: list[tuple[str, np.ndarray]] = []
    for form in (day + clock for day in _DAYS for clock in _CLOCKS):
        if np.isnan(parse_dates(distinct[:3], form)).any():
            continue
        days = parse_dates(distinct, form)
        if not np.isnan(days).any():
            found.append((form, days))
    if not found:
        return "", ""
    if any(not np.array_equal(days, found[0][1]) for _, days in found[1:]):
        return "", f"dates such as {distinct[0]!r} may be day or month first (use pd.to_datetime); "
    return found[0][0], ""
