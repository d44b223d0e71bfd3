"""Quotation marks in text files: lines that one of them merges into a row, and TSV files that do not quote.

A cell that begins with a quotation mark reaches to the next one, over lines too. Where the mark is only a character of
the text, all lines between become one cell, and rows are lost in silence.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.text_files import LINES, text_of
from thermocline.data.values import number_or_none
from thermocline.errors import DataError

QUOTED = re.compile(r'"(?:[^"]|"")*"')
REPEATED = 0.5  # of the rows: a column with at most this many different values repeats them


# -- merged lines ----------------------------------------------------------------------------------


def check_merged(frame: pd.DataFrame, path: Path, separator: str) -> None:
    """Check that no quoted cell holds whole rows.

    Where quotation marks are closed as they should be, a cell of several lines may be meant so: it is refused if each
    of its lines has the shape of a row (two lines at least, or three columns). Where they are not, half are enough.

    Args:
        frame: The cells of the file, as text.
        path: The file.
        separator: What stands between its cells.

    Raises:
        DataError: Naming the first and last of the merged lines.
    """
    several = frame.apply(lambda series: series.str.contains("[\r\n]")).to_numpy(dtype=bool)
    names = [str(name) for name in frame.columns]
    if not several.any() and not any(LINES.search(name) for name in names):
        return
    text = text_of(path)
    closed = _first_open(text, separator) is None
    broken = next((name for name in names if LINES.search(name)), None)
    if broken is not None and not closed:
        raise _merged_error(path, text, broken)
    shapes = [_shape(series[~several.any(axis=1)]) for _, series in frame.items()]
    for row, column in zip(*np.nonzero(several), strict=True):
        cell = str(frame.iat[int(row), int(column)])
        if _holds_rows(cell, int(column), shapes, separator, closed=closed):
            raise _merged_error(path, text, cell)


def _shape(series: pd.Series[Any]) -> frozenset[str] | None:
    """Return the values of a column that repeats them; an empty set for numbers, None where any text fits."""
    distinct = series.unique().tolist()
    if distinct and len(distinct) <= REPEATED * len(series):
        return frozenset(distinct)
    numbers = [number_or_none(text) for text in distinct]
    return frozenset() if distinct and None not in numbers else None


def _holds_rows(
    cell: str, column: int, shapes: Sequence[frozenset[str] | None], separator: str, *, closed: bool
) -> bool:
    first, *rest, _ = LINES.split(cell)
    columns = len(shapes)
    fits = [_fits(first.split(separator), shapes[column:], unread=0)]
    fits += [_fits(line.split(separator), shapes, unread=column) for line in rest]
    if not closed:
        return sum(fits) >= len(fits) / 2
    told = any(shape is not None for place, shape in enumerate(shapes) if place != column)
    return told and all(fits) and (len(fits) > 1 or columns > 2)


def _fits(pieces: Sequence[str], shapes: Sequence[frozenset[str] | None], *, unread: int) -> bool:
    """Whether a line has as many pieces as columns, and values like theirs but for one column."""
    if len(pieces) != len(shapes):
        return False
    return all(
        place == unread or shape is None or (piece in shape if shape else number_or_none(piece) is not None)
        for place, (piece, shape) in enumerate(zip(pieces, shapes, strict=True))
    )


def _merged_error(path: Path, text: str, cell: str) -> DataError:
    head = LINES.split(cell)
    start = text.find('"' + head[0].replace('"', '""'))
    first = len(LINES.findall(text, 0, max(start, 0))) + 1
    last = first + len(head) - 1
    return DataError(
        f"{str(path)!r}: lines {first} to {last} would become one row, because a quotation mark opens in line {first} "
        f"({head[0][:40]!r}) and is closed in line {last}, and what stands between has the shape of whole rows. Close "
        "the mark in its own line, or write it twice and put the cell in quotation marks. If the file quotes nothing, "
        "read it with `pandas.read_csv(path, quoting=3)`, and if the lines do belong together, with "
        "`pandas.read_csv(path)`, and pass the DataFrame."
    )


def _first_open(text: str, separator: str) -> int | None:
    """Return where the first cell begins that begins with a quotation mark and does not end with one, or None."""
    start, end = rf'(?:^|(?<=[{separator}\r\n]))"', rf"(?=[{separator}\r\n]|\Z)"
    for found in re.finditer(rf'{start}(?:[^"]*(?:""[^"]*)*"{end}|(?P<open>))', text):
        if found["open"] is not None:
            return found.start()
    return None


def open_mark(path: Path, separator: str) -> str:
    """Return a sentence on the first quotation mark that is not closed as it should be, or nothing."""
    text = text_of(path)
    start = _first_open(text, separator)
    if start is None:
        return ""
    line = len(LINES.findall(text, 0, start)) + 1
    return (
        f". A cell in line {line} begins with a quotation mark ({text[start : start + 40]!r}), which is not closed at "
        "the end of that cell: close it, or write it twice and put the cell in quotation marks."
    )


# -- files that do not quote -----------------------------------------------------------------------


def read_unquoted(path: Path) -> pd.DataFrame | None:
    """Return the cells of a TSV file as they are between its tabs; those in quotation marks lose them.

    None where that cannot be: the file has one column, or a line has more or fewer cells than the header.
    """
    text = text_of(path)
    lines = [line for line in LINES.split(text) if line]
    cells = {line.count("\t") for line in lines}
    if '"' not in text or len(cells) > 1 or cells <= {0}:
        return None
    frame = pd.read_csv(path, sep="\t", index_col=False, dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
    for name in frame.columns:
        if frame[name].str.startswith('"').any():
            frame[name] = frame[name].map(_unquote).astype("str")
    return frame.rename(columns=_unquote)


def _unquote(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and QUOTED.fullmatch(cell) else cell
