"""Reads and checks frames. The caller's frame is never written to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.cells import CellRules, read_cells
from thermocline.data.other_files import PARQUET, TABLES, check_path, how_to_read, of_no_file
from thermocline.data.quoted_lines import check_merged, open_mark, read_unquoted
from thermocline.data.row_names import first_rows
from thermocline.data.tables import as_frame
from thermocline.data.text_files import PACKED, check_decimal_commas, encoding_error, separator_of, unpacked
from thermocline.data.values import is_broken
from thermocline.errors import (
    DataError,
    MissingColumnError,
    MissingDependencyError,
    counted,
    did_you_mean,
    listing,
)
from thermocline.registry import problem_infos

# -- reading ---------------------------------------------------------------------------------------


def read_frame(data: object, rules: CellRules | None = None) -> tuple[pd.DataFrame, Path | None]:
    """Return the frame and the folder that relative image paths in it start from.

    Args:
        data: A table in memory (`as_frame`; a DataFrame is returned as it is), or a path to a .csv, .tsv (perhaps
            compressed) or .parquet file.
        rules: How the cells of a CSV or TSV file are read; by default each column is typed by its values.

    Returns:
        The frame, and the file's folder (None for a table in memory).

    Raises:
        DataError: No such file, an unknown extension, or what cannot be read as a table.
        MissingDependencyError: A parquet file without a parquet engine, an Arrow table without pyarrow.
    """
    if not isinstance(data, (str, os.PathLike)):
        return as_frame(data), None
    check_path(os.fsdecode(data))
    path = Path(data).expanduser()
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in PACKED else "".join(suffixes[-1:])
    if kind not in TABLES and (kind or path.exists()):
        hints = [
            f" If it is {info.file_types[kind]}, pass problem_type={info.problem_types[0]!r}."
            for info in problem_infos()
            if kind in info.file_types
        ]
        raise DataError(
            f"{str(path)!r}: the extension {kind!r} is none of .csv, .tsv, .parquet. Read it with pandas "
            f"and pass the DataFrame.{how_to_read(path, kind)}{''.join(hints)}"
        )
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"The file {str(path)!r} {what}.{of_no_file(path) or near}")
    if kind in PARQUET:
        frame = _read_parquet(path)
    else:
        with unpacked(path):
            cells = _read_text(path, "\t" if kind == ".tsv" else separator_of(path))
        frame = read_cells(cells, rules or CellRules())
    return frame, path.resolve().parent


def _read_text(path: Path, separator: str) -> pd.DataFrame:
    """Return the file's cells as they are written."""
    try:
        header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False)
        names = header.iloc[0].tolist()
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:  # pandas would rename the second one without a word
            raise DataError(
                f"{str(path)!r} has more than one column named {listing(twice)}. Rename them in its header."
            )
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = read_unquoted(path) if separator == "\t" else None
            if frame is not None:
                return frame
            frame = pd.read_csv(path, sep=separator, index_col=False, dtype=str, keep_default_na=False).fillna("")
        check_merged(frame, path, separator)
        check_decimal_commas(frame, path, separator)
        return frame
    except pd.errors.EmptyDataError:
        raise DataError(f"The file {str(path)!r} is empty.") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        hint = open_mark(path, separator)
        raise DataError(f"{str(path)!r} cannot be read as a table: {str(error).strip()}{hint}") from error
    except UnicodeDecodeError as error:
        raise encoding_error(path, error) from error


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError:
        raise MissingDependencyError(
            f"Reading {path.name!r} needs a parquet engine: pip install 'thermocline[parquet]'"
        ) from None
    except (ValueError, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read as parquet: {error}") from error


# -- checking --------------------------------------------------------------------------------------


def check_frame(frame: pd.DataFrame, *, what: str = "train_data") -> None:
    """Check what every frame must be: rows, columns, unique text names, finite numbers.

    Raises:
        DataError: Naming the fault, the column and the first rows.
    """
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{what} is a DataFrame, not {type(frame).__name__}.")
    if frame.shape[1] == 0:
        raise DataError(f"{what} has no columns.")
    if len(frame) == 0:
        raise DataError(f"{what} has no rows (columns: {listing(frame.columns)}).")
    check_names(frame, what=what)
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if pd.api.types.is_float_dtype(dtype):
            _check_finite(frame[name], f"{what}: column {name!r}")


def check_names(frame: pd.DataFrame, *, what: str = "train_data") -> None:
    """Check that column names are text, and that each is there once.

    Raises:
        DataError: Naming those that are not.
    """
    names = list(frame.columns)
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        levels: Any = frame.columns.to_flat_index()
        texts = all(isinstance(part, str) for name in levels if isinstance(name, tuple) for part in name)
        way = "'_'.join" if isinstance(frame.columns, pd.MultiIndex) and texts else "str"
        raise DataError(
            f"{what} has column names that are not text: {listing(odd)}. Rename them, for instance with "
            f"`frame.columns = frame.columns.map({way})`."
        )
    broken = [name for name in names if is_broken(name)]
    if broken:
        raise DataError(
            f"{what} has column names with half a surrogate pair, which cannot be written: {listing(broken)}. Rename "
            "them."
        )
    if not frame.columns.is_unique:
        twice = list(dict.fromkeys(frame.columns[frame.columns.duplicated()]))
        raise DataError(f"{what} has more than one column named {listing(twice)}. Rename or drop all but one.")


def check_columns(frame: pd.DataFrame, needed: Iterable[str], *, what: str = "the data") -> None:
    """Check that the columns are there.

    Raises:
        MissingColumnError: Listing those that are not, with the nearest names present.
    """
    present = list(frame.columns)
    missing = [name for name in needed if name not in present]
    if not missing:
        return
    near = " ".join(f"{name!r}:{hint}" for name in missing[:8] if (hint := did_you_mean(name, present)))
    noun = "column" if len(missing) == 1 else "columns"
    raise MissingColumnError(
        f"{what} lacks the {noun} {listing(missing)}. It has {listing(present, limit=20)}."
        + (f" {near}" if near else "")
    )


def _check_finite(series: pd.Series[Any], where: str) -> None:
    bad = np.isinf(series.to_numpy(dtype=np.float64, na_value=np.nan))
    if bad.any():
        raise DataError(
            f"{where} holds {counted(int(bad.sum()), 'infinite value')}: {first_rows(series.index, bad, series)}. "
            "Correct them, drop these rows, or put NaN, which in a feature is taken as missing."
        )
