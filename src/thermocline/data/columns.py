"""Columns: which type each column of a frame has, and why; inferred, or given by the user and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd

from thermocline.data.column_rules import category_form, date_form, judge, missing_mask, sort_of
from thermocline.data.frames import check_columns
from thermocline.data.image_columns import given_image_form
from thermocline.data.row_names import first_rows
from thermocline.data.values import is_duration, parse_numbers
from thermocline.data.verdict import Verdict
from thermocline.errors import ColumnTypeError, ConfigError, counted, did_you_mean, listing
from thermocline.report.tables import html_block, html_table, table

Kind = Literal["numeric", "categorical", "text", "image", "null"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_LONGEST_NAME = 60  # letters of a name in the text
_MOST_ALIKE = 4  # neighbours that differ in name alone and have lines of their own


@dataclass(frozen=True, repr=False)
class Column:
    """One column's type.

    Attributes:
        name: Its name in the frame.
        kind: `numeric`, `categorical`, `text`, `image`, or `null` (not used).
        reason: Why, with counts.
        missing: How many values were missing; blank strings count.
        form: How its values are written. Numeric: `number`, `number as text`, `date`, `date:<format>`,
            `duration`. Categorical: `category` (as written), `number category`, `boolean`. Text: `text`.
            Image: `path`, `encoded` (base64 or data URLs), `bytes`, `pil`, `array`, `record` (a dict of bytes and
            path), `mixed`. Null: empty, or `images not read`, where the reason says what to do.
    """

    name: str
    kind: Kind
    reason: str = ""
    missing: int = 0
    form: str = ""

    def __repr__(self) -> str:
        form = f" ({self.form})" if self.form not in ("", self.kind) else ""
        missing = f", {self.missing} missing" if self.missing else ""
        return f"<Column {self.name!r}: {self.kind}{form}{missing}; {self.reason or 'no reason given'}>"


@dataclass(frozen=True, repr=False)
class Columns:
    """The types of all columns of a frame, in its order.

    Example:
        >>> predictor.columns.used
        ['review', 'price', 'shop']
        >>> predictor.columns["shop"].kind, predictor.columns.of("text")
        ('categorical', ['review'])
        >>> predictor.columns.to_frame()[["column", "type", "missing"]]
           column         type  missing
        0  review         text        0
        1   price      numeric        0
        2    shop  categorical        0
    """

    columns: tuple[Column, ...]

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def of(self, kind: Kind) -> list[str]:
        """Return the names of the columns of one type."""
        _check_kind(kind, "of()")
        return [column.name for column in self.columns if column.kind == kind]

    def have(self, kinds: Iterable[str]) -> bool:
        """Return whether a column is of one of these types."""
        kinds = frozenset(kinds)
        return any(column.kind in kinds for column in self.columns)

    @property
    def used(self) -> list[str]:
        """The names of the columns that a model sees: all but `null`."""
        return [column.name for column in self.columns if column.kind != "null"]

    def to_frame(self) -> pd.DataFrame:
        """Return a table: column, type, reason, missing."""
        rows = [(c.name, c.kind, c.reason, c.missing) for c in self.columns]
        return pd.DataFrame(rows, columns=["column", "type", "reason", "missing"])

    def __str__(self) -> str:
        if not self.columns:
            return "(no columns)"
        lines = []
        for (kind, missing, reason), group in groupby(self.columns, lambda one: (one.kind, one.missing, one.reason)):
            names = [_cut(one.name, _LONGEST_NAME) for one in group]
            if len(names) > _MOST_ALIKE:
                names = [f"{names[0]} … {names[-1]} ({len(names)} columns)"]
            lines += [[name, kind, str(missing), reason] for name in names]
        return table(lines, ["column", "type", "missing", "reason"], right=(2,))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [[c.name, c.kind, str(c.missing), c.reason] for c in self.columns]
        return html_block(html_table(rows, ["column", "type", "missing", "reason"], right=[2]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` undoes it exactly."""
        return {"columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Columns:
        """Return what `to_dict` wrote down."""
        return cls(tuple(Column(**column) for column in values["columns"]))


def infer_columns(
    frame: pd.DataFrame,
    *,
    exclude: Iterable[str] = (),
    column_types: Mapping[str, str] | None = None,
) -> Columns:
    """Return the type of each column, by the rules of `thermocline.data.column_rules` unless it is given.

    Args:
        frame: The training data.
        exclude: Columns to leave out: the label, the sample weight.
        column_types: Types given by the user, by column; the others are inferred.

    Raises:
        MissingColumnError: A type was given to a column that is not there.
        ConfigError: A type that does not exist, or one for an excluded column.
        ColumnTypeError: A type that the values cannot have.
    """
    left_out = set(exclude)
    if column_types is not None and not isinstance(column_types, Mapping):
        raise ConfigError(
            f"column_types maps a column to its type, such as {{'age': 'numeric'}}, not {column_types!r}."
        )
    given = dict(column_types or {})
    check_columns(frame, given, what="column_types names columns that train_data does not have:")
    for name, kind in given.items():
        _check_kind(kind, f"column_types[{name!r}]")
        if name in left_out:
            raise ConfigError(
                f"column_types gives a type to {name!r}, which is the label or the sample weight, not a "
                "feature. Leave it out of column_types."
            )
    columns = []
    for name in frame.columns:
        if name in left_out:
            continue
        series = frame[name]
        verdict = _given(series, name, given[name]) if name in given else judge(series)
        missing = int(missing_mask(series, words=verdict.kind == "numeric").sum())
        columns.append(Column(name, cast(Kind, verdict.kind), verdict.reason, missing, verdict.form))
    return Columns(tuple(columns))


def _check_kind(kind: object, where: str) -> None:
    if kind not in KINDS:
        raise ConfigError(
            f"{where}: {kind!r} is no column type. Choose from {listing(KINDS)}.{did_you_mean(kind, KINDS)}"
        )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


# -- types given by the user -----------------------------------------------------------------------


def _given(series: pd.Series[Any], name: str, kind: str) -> Verdict:
    """Return the verdict of a given type, or raise ColumnTypeError where the values cannot have it."""
    reason = "given by column_types"
    if kind == "null":
        return Verdict(kind, reason)
    if kind == "numeric":
        return Verdict(kind, reason, _numeric_form(series, name))
    present = ~missing_mask(series)
    if kind == "image":
        return Verdict(kind, reason, given_image_form(series[present], name))
    cells = zip(series.astype(object).tolist(), present, strict=True)
    bad = np.array([there and sort_of(value) in {"bytes", "other"} for value, there in cells], dtype=bool)
    if bad.any():
        raise ColumnTypeError(
            f"column_types[{name!r}] is {kind!r}, which takes plain values, but "
            f"{counted(int(bad.sum()), 'value is', 'values are')} "
            f"none: {first_rows(series.index, bad, series)}."
        )
    if kind == "text":
        return Verdict(kind, reason, "text")
    return Verdict(kind, reason, category_form(series[present].astype(object).unique().tolist()))


def _numeric_form(series: pd.Series[Any], name: str) -> str:
    """Return how the numbers are written, or raise ColumnTypeError naming what is not a number."""
    inferred = judge(series)
    if inferred.kind == "numeric":
        return inferred.form
    if pd.api.types.is_datetime64_any_dtype(series.dtype) or isinstance(series.dtype, pd.PeriodDtype):
        return "date"  # constant ones
    if is_duration(series.dtype):
        return "duration"
    _, bad = parse_numbers(series, "number")
    if not bad.any():
        strings = series.dtype == object or pd.api.types.is_string_dtype(series.dtype)
        return "number as text" if strings else "number"
    distinct = list(dict.fromkeys(v for v in series.astype(object).tolist() if isinstance(v, str) and v.strip()))
    form, ambiguous = date_form(distinct) if distinct else ("", "")
    if form:
        return f"date:{form}"
    number = int(bad.sum())
    count = f"{number} of {counted(len(series), 'value')} {'is no number' if number == 1 else 'are not numbers'}"
    note = f" {ambiguous.rstrip('; ').capitalize()}." if ambiguous else ""
    raise ColumnTypeError(
        f"column_types[{name!r}] is 'numeric', but {count}: "
        f"{first_rows(series.index, bad, series)}.{note} "
        "Correct them, or choose 'categorical' or 'text'."
    )
