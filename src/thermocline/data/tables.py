"""Tables that are not of pandas: polars frames and others with Arrow's interface, dicts of columns, dicts as rows."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from thermocline.data.image_cells import is_pil, is_record
from thermocline.errors import DataError, MissingDependencyError, listing


class ArrowTable(Protocol):
    """A table with the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule with the rows."""
        ...


class PandasTable(Protocol):
    """A table that can be made one of pandas."""

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a DataFrame."""
        ...


#: What `fit`, `predict` and the others take.
Data = (
    pd.DataFrame
    | ArrowTable
    | PandasTable
    | Mapping[str, Any]
    | Sequence[Mapping[str, Any]]
    | Sequence[str | os.PathLike[str]]
    | str
    | os.PathLike[str]
)

ACCEPTED = (
    "Data is a DataFrame (pandas, polars, or any table with Arrow's interface), a dict of columns, a list of dicts, or "
    "a path to a CSV or Parquet file; images also come as a folder by class, a glob or a list of files"
)


def as_frame(data: object) -> pd.DataFrame:
    """Return a table as a DataFrame: the same one where it is of pandas, else a new one with rows numbered from 0.

    Args:
        data: A pandas DataFrame; an object with `__arrow_c_stream__` (the Arrow PyCapsule interface: polars, pyarrow,
            DuckDB) or, as those of `datasets`, with `to_pandas`; a dict of columns, or of single values, which is one
            row; a list of dicts, one a row.

    Raises:
        DataError: It is none of these, or cannot be made a table.
        MissingDependencyError: An Arrow table, and pyarrow is not installed.

    Example:
        >>> as_frame([{"text": "good", "stars": 5}, {"text": "bad", "stars": 1}]).shape
        (2, 2)
    """
    if isinstance(data, pd.DataFrame):
        return data
    if hasattr(data, "__arrow_c_stream__") and not isinstance(data, (type, pd.Series)):
        return _of_arrow(data)
    if isinstance(data, Mapping):
        return _of_dicts(dict(data), one=bool(data) and all(map(_is_one, data.values())))
    if isinstance(data, Sequence) and data and all(isinstance(row, Mapping) for row in data):
        return _of_dicts([dict(row) for row in data])
    converted = _of_pandas_method(data)
    if converted is None:
        raise DataError(f"{ACCEPTED}, not {_name(data)}.{_hint(data)}")
    return converted


def as_rows(data: object, names: Iterable[str]) -> object:
    """Return data to predict: one row of a frame as a table of it, no rows as an empty one; anything else as it is.

    Args:
        data: What `as_frame` takes; a Series such as `frame.iloc[0]`, whose index has the names of the columns; or an
            empty list.
        names: The columns that are needed.

    Example:
        >>> as_rows(pd.DataFrame({"text": ["good", "bad"]}, index=[7, 8]).iloc[1], ["text"]).index.tolist()
        [8]
    """
    if isinstance(data, pd.Series) and data.index.is_unique and set(names) <= set(data.index):
        return _of_dicts([dict(data)]).set_axis([data.name])
    if isinstance(data, list | tuple) and not data:
        return pd.DataFrame(columns=list(names))
    return data


def _of_arrow(data: Any) -> pd.DataFrame:
    pandas_frame: Any = pd.DataFrame  # the stubs of pandas do not know from_arrow
    try:
        frame: pd.DataFrame = pandas_frame.from_arrow(data)
        return frame
    except ImportError:
        raise MissingDependencyError(
            f"A table of type {_name(data)} is read through Arrow: pip install 'thermocline[parquet]'"
        ) from None
    except (ValueError, TypeError) as error:
        hint = " It is one column; pass the table." if "non-struct" in str(error) else ""
        raise DataError(f"{_name(data)} cannot be read as a table: {error}.{hint}") from error


def _is_one(value: object) -> bool:
    """Whether a value is one cell, not a column."""
    return bool(pd.api.types.is_scalar(value)) or is_pil(value) or (isinstance(value, Mapping) and is_record(value))


def _of_dicts(data: Any, *, one: bool = False) -> pd.DataFrame:
    data = [data] if one else data
    if isinstance(data, dict):  # a block of pictures, rows × height × width, is a column of pictures
        blocks = {name for name, values in data.items() if getattr(values, "ndim", 0) > 2}
        data = {name: list(values) if name in blocks else values for name, values in data.items()}
    try:
        return pd.DataFrame(data)
    except UnicodeEncodeError:  # half a surrogate pair, which only objects can hold
        return pd.DataFrame(data, dtype=object)
    except (ValueError, TypeError) as error:
        fault = str(error).rstrip(".")
        raise DataError(f"The {type(data).__name__} cannot be made a table: {fault}.{_inside(data)}") from error


def _inside(data: Any) -> str:
    """Return which part of a mapping to pass, where it holds tables: the splits of `datasets`, a Bunch."""
    parts = data if isinstance(data, Mapping) else {}
    tables = [name for name, part in parts.items() if getattr(part, "ndim", 2) == 2 and _is_table(part)]
    if not tables:
        return ""
    return f" It holds tables under {listing(tables)}: pass one of them, such as data[{tables[0]!r}]."


def _is_table(part: object) -> bool:
    return any(hasattr(part, name) for name in ("columns", "to_pandas", "__arrow_c_stream__")) or (
        len(getattr(part, "shape", ())) == 2
    )


def _of_pandas_method(data: Any) -> pd.DataFrame | None:
    method = None if isinstance(data, type) else getattr(data, "to_pandas", None)
    if not callable(method):
        return None
    try:
        converted = method()
    except ImportError as error:
        raise MissingDependencyError(f"{_name(data)} cannot be made a pandas DataFrame: {error}") from error
    return converted if isinstance(converted, pd.DataFrame) else None


def _hint(data: object) -> str:
    if isinstance(data, pd.Series):
        if len(data.index) and all(isinstance(name, str) for name in data.index):
            return (
                " For one row of a frame pass `frame.iloc[[0]]`, with two brackets; for one column `series.to_frame()`."
            )
        return " Pass `series.to_frame()`."
    if isinstance(data, (list, tuple)) and data and all(isinstance(one, pd.DataFrame) for one in data):
        return " Pass `pd.concat(frames, ignore_index=True)`, or rows to validate on as `tuning_data`."
    if isinstance(data, (list, tuple)) and data and all(isinstance(one, (str, os.PathLike)) for one in data):
        return (
            " Texts and images are values of a column: pass `{'column': values}`; for files that hold tables "
            "`pd.concat(map(pd.read_csv, paths), ignore_index=True)`."
        )
    if isinstance(data, io.IOBase):
        return " Pass the path of the file."
    if isinstance(data, bytes):
        return " Pass a path as text."
    if isinstance(data, Iterator):
        return " It is read once only: pass `list(rows)`, one dict a row."
    if type(data).__name__.endswith("GroupBy") and hasattr(data, "obj"):
        return " Pass the frame that was grouped."
    if hasattr(data, "collect"):
        return " Pass `frame.collect()`."
    if type(data).__module__.startswith("torch.utils.data"):
        return " Pass the table that it is made from."
    if hasattr(data, "shape") or isinstance(data, (list, tuple)):
        return " Columns need names: pass `pd.DataFrame(values, columns=[...])`."
    return ""


def _name(data: object) -> str:
    package = type(data).__module__.partition(".")[0]
    return type(data).__qualname__ if package == "builtins" else f"{package}.{type(data).__qualname__}"
