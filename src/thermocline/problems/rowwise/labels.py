"""Labels: read the label columns, infer the problem type, and name what cannot be learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.row_names import first_rows, is_name, plain
from thermocline.errors import ConfigError, LabelError, counted, listing
from thermocline.problems.rowwise.label_values import (
    check_given,
    check_writable,
    is_list,
    is_numeric,
    lists,
    quantities,
    zero_one,
)
from thermocline.problems.rowwise.positive import find_positive
from thermocline.problems.rowwise.written_numbers import (
    NumberForm,
    WrittenNumbers,
    find_form,
    read_numbers,
    without_decimals,
)

MOST_CLASSES = 20  # distinct whole numbers: more of them are a quantity
ROWS_PER_CLASS = 2  # on average: fewer are a quantity
MOST_SINGLE = 10  # classes, nearly all of one row: more of them are an error where nobody said that they are classes
NEARLY = 0.9  # this share is nearly all


@dataclass(frozen=True)
class Found:
    """What the labels of a training frame turned out to be; the fields are those of `RowTarget`."""

    problem_type: str
    classes: tuple[Any, ...] = ()
    dtypes: tuple[str, ...] = ()
    categories: tuple[tuple[Any, ...], bool] | None = None
    mean: float = 0.0
    std: float = 1.0
    reason: str = ""
    form: NumberForm | None = None
    positive: Any = None


# -- inference -------------------------------------------------------------------------------------


def read_label(series: pd.Series[Any], problem_type: str | None, positive_class: Any = None) -> Found:
    """Return what a single label column is; see `RowTarget.of` for the rules and errors."""
    values = series.dropna()
    if values.empty:
        raise LabelError(f"Label {series.name!r} is missing in every row.")
    if any(is_list(value) for value in values.astype(object)):
        if problem_type not in {None, "multilabel"}:
            raise LabelError(f"Label {series.name!r} holds lists, which are multilabel, not {problem_type}.")
        return _read_lists(series)
    series, values = without_decimals(series), without_decimals(values)
    if problem_type == "multilabel":
        raise LabelError(
            f"Label {series.name!r} holds no lists. A multilabel label is a column of lists of names, or a "
            "list of columns holding 0 and 1."
        )
    if _is_date(values.dtype):
        raise LabelError(
            f"Label {series.name!r} holds dates or durations. Turn them into numbers for a regression, or into "
            "text for classes."
        )
    if problem_type != "regression":
        _check_scalars(series)
    inferred, reason = ("", "as given by problem_type") if problem_type else _infer(values, str(series.name))
    kind = problem_type or inferred
    if kind == "classification":
        kind = "binary" if values.nunique() == 2 else "multiclass"
    if kind == "regression":
        return _read_quantity(series, reason)
    return _read_classes(series, kind, reason, positive_class)


def read_label_columns(frame: pd.DataFrame, names: tuple[str, ...], problem_type: str | None) -> Found:
    """Return what a list of 0/1 label columns is."""
    if problem_type not in {None, "multilabel"}:
        raise ConfigError(f"label lists {len(names)} columns, which is a multilabel problem, not {problem_type}.")
    target = np.stack([zero_one(frame[name]) for name in names], axis=1)
    shares = target.mean(axis=0)
    never = [name for name, share in zip(names, shares, strict=True) if share in {0.0, 1.0}]
    if len(never) == len(names):
        raise LabelError(f"Each of the label columns {listing(names)} holds one value only: there is nothing to learn.")
    note = f"; the same in every row: {listing(never)}" if never else ""
    dtypes = tuple(_dtype_name(frame[name].dtype) for name in names)
    return Found("multilabel", names, dtypes, reason=f"{len(names)} label columns of 0 and 1{note}")


def _infer(values: pd.Series[Any], name: str) -> tuple[str, str]:
    """Return the problem type of labels without missing values, and why."""
    dtype = values.dtype
    distinct = int(values.nunique())
    if distinct == 2:
        return "binary", "2 distinct values"
    if not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        return _infer_objects(values, name, distinct)
    return _infer_numbers(values.to_numpy(dtype=np.float64), distinct)


def _infer_numbers(values: np.ndarray, distinct: int) -> tuple[str, str]:
    if (values != np.floor(values)).any():  # infinities count as whole, and are an error either way
        return "regression", "numbers with a fraction"
    if distinct <= MOST_CLASSES and len(values) >= ROWS_PER_CLASS * distinct:
        return "multiclass", f"whole numbers, {distinct} distinct (at most {MOST_CLASSES} are classes)"
    if distinct > MOST_CLASSES:
        return "regression", f"whole numbers, {distinct:,} distinct (more than {MOST_CLASSES} are a quantity)"
    return "regression", f"whole numbers, {distinct} distinct in {len(values)} rows (under two rows each)"


def _infer_objects(values: pd.Series[Any], name: str, distinct: int) -> tuple[str, str]:
    """Return the problem type of labels whose dtype is no number: numbers all the same, or classes."""
    read = read_numbers(values)
    if read is not None:
        there = read.values[~np.isnan(read.values)]
        kind, reason = _infer_numbers(there, len(np.unique(there)))
        if kind == "regression" and not read.bad.any():
            return kind, f"{reason}, {read.how}; problem_type='multiclass' makes them classes"
        if kind == "regression":
            _check_nearly_numbers(values, name, read)
    counts = values.astype(object).value_counts()
    single = int((counts == 1).sum())
    if distinct > MOST_SINGLE and single >= NEARLY * distinct:
        raise LabelError(
            f"Label {name!r} has {distinct:,} different values in {len(values):,} rows, {single:,} of them in one row "
            f"only, such as {listing(counts.index[counts == 1], limit=3)}: classes of one row cannot be learned. If "
            "they are quantities, pass problem_type='regression' and write them as numbers; if they are classes all "
            "the same, pass problem_type='multiclass'."
        )
    return "multiclass", f"{distinct:,} distinct values that are no numbers"


def _check_nearly_numbers(values: pd.Series[Any], name: str, read: WrittenNumbers) -> None:
    good = len(values) - int(read.bad.sum())
    if good < NEARLY * len(values):
        return
    raise LabelError(
        f"Label {name!r} holds numbers in {good:,} of {len(values):,} rows, but not in "
        f"{first_rows(values.index, read.bad, values)}. Correct or drop these rows for a regression "
        "(problem_type='regression'), or pass problem_type='multiclass' if all are classes."
    )


# -- one kind each ---------------------------------------------------------------------------------


def _read_classes(series: pd.Series[Any], kind: str, reason: str, positive_class: Any) -> Found:
    check_given(series)
    values = [plain(value) for value in series.astype(object)]
    endless = np.array([isinstance(value, float) and not np.isfinite(value) for value in values], dtype=bool)
    if endless.any():
        raise LabelError(f"Label {series.name!r} is infinite: {first_rows(series.index, endless, series)}.")
    classes, categories = _in_order(series, values)
    if len(classes) == 1:
        raise LabelError(
            f"Label {series.name!r} is {classes[0]!r} in every row: there is nothing to learn. At least two "
            "classes are needed."
        )
    if kind == "binary" and len(classes) != 2:
        raise LabelError(
            f"problem_type is 'binary', but label {series.name!r} has {counted(len(classes), 'class', 'classes')}: "
            f"{listing(classes)}. Use problem_type='multiclass'."
        )
    counts = Counter(values)
    single = [value for value in classes if counts[value] == 1]
    note = f"; one row only: {listing(single)}" if single else ""
    positive = None
    if kind == "binary":
        positive, why = find_positive(classes, counts, positive_class, label=series.name)
        note = f"; positive class {positive!r} ({why}){note}"
    return Found(kind, classes, (_dtype_name(series.dtype),), categories, reason=reason + note, positive=positive)


def _check_scalars(series: pd.Series[Any]) -> None:
    if is_numeric(series):
        return
    odd = np.array([not is_name(value) for value in series.astype(object)], dtype=bool) & series.notna().to_numpy()
    if odd.any():
        raise LabelError(
            f"Label {series.name!r} holds values that cannot be classes (text, numbers and booleans can): "
            f"{first_rows(series.index, odd, series)}. If they are classes, write them as text: "
            f"`frame[{series.name!r}].astype(str)`."
        )
    check_writable(series)


def _is_date(dtype: Any) -> bool:
    return pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype)


def _in_order(series: pd.Series[Any], values: list[Any]) -> tuple[tuple[Any, ...], tuple[tuple[Any, ...], bool] | None]:
    """Return the classes that occur, in order, and the categories of a categorical label."""
    present = set(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        every = tuple(plain(value) for value in series.cat.categories)
        ordered = bool(series.cat.ordered)
        kept = [value for value in every if value in present]
        return tuple(kept if ordered else _sorted(kept, series.name)), (every, ordered)
    return tuple(_sorted(present, series.name)), None


def _sorted(values: Iterable[Any], name: object) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        types = sorted({type(value).__name__ for value in values})
        raise LabelError(
            f"Label {name!r} mixes values of types {listing(types)}, which have no order. Give them one "
            "type, for instance with `.astype(str)`."
        ) from None


def _read_lists(series: pd.Series[Any]) -> Found:
    cells = lists(series)
    where = f"Label {series.name!r} holds"
    odd = np.array([not all(is_name(value) for value in cell) for cell in cells], dtype=bool)
    if odd.any():
        shown = first_rows(series.index, odd, series)
        boxes = any(is_list(value) and len(value) == 5 for cell in cells for value in cell)
        hint = " If they are boxes, pass problem_type='object_detection'." if boxes else ""
        raise LabelError(f"{where} lists of something else than names (text, numbers or booleans): {shown}.{hint}")
    check_writable(series)
    counts = Counter(value for cell in cells for value in set(cell))
    if len(counts) < 2:
        raise LabelError(f"{where} {counted(len(counts), 'distinct name')} in its lists; at least two are needed.")
    if all(count == len(cells) for count in counts.values()):
        raise LabelError(f"{where} the same names in every row: there is nothing to learn.")
    names = tuple(_sorted(counts, series.name))
    return Found("multilabel", names, ("object",), reason=f"lists of {len(names)} names")


def _read_quantity(series: pd.Series[Any], reason: str) -> Found:
    texts = [value for value in series.astype(object) if isinstance(value, str)] if not is_numeric(series) else []
    form = find_form(list(dict.fromkeys(texts)))
    values = quantities(series, form)
    if values.min() == values.max():
        raise LabelError(f"Label {series.name!r} is {values[0]:g} in every row: there is nothing to learn.")
    with np.errstate(over="ignore"):
        mean, std = float(values.mean()), float(values.std())
    if not np.isfinite(mean) or not np.isfinite(std) or std == 0.0:
        raise LabelError(
            f"Label {series.name!r} cannot be standardised: from {values.min():g} to {values.max():g}, its "
            f"standard deviation is {std:g}. Rescale it."
        )
    return Found("regression", (), (_dtype_name(series.dtype),), None, mean, std, reason, form)


def _dtype_name(dtype: Any) -> str:
    """Return a dtype's name if pandas can make it from that, else `object`."""
    name = str(dtype)
    try:
        pd.api.types.pandas_dtype(name)
    except (TypeError, ValueError, NotImplementedError):  # arrow types with parameters, for one
        return "object"
    return name
