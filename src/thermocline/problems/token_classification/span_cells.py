"""Cells of labels that hold spans: lists of `{start, end, label}`, or the same as JSON text."""

from __future__ import annotations

import json
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.row_names import is_name, plain
from thermocline.errors import LabelError
from thermocline.problems.token_classification.spans import Span, row_name

LABEL_KEYS = ("label", "entity_group")
_FORM = '[{"start": 0, "end": 5, "label": "person"}]'
_SHOWN = 60


def read_spans(cells: Sequence[Any], texts: Sequence[str], where: str, index: pd.Index[Any]) -> list[list[Span]]:
    """Return the spans of every row as they are given.

    Args:
        cells: The label's cells.
        texts: The texts that they are in.
        where: The column and the data, for messages.
        index: The frame's index.

    Raises:
        LabelError: A cell that holds no list of spans, or a span outside of its text.
    """
    rows = []
    for row, (cell, text) in enumerate(zip(cells, texts, strict=True)):
        name = f"{where}, {row_name(index, row)}"
        rows.append([_span(one, text, name) for one in _list_of(cell, name)])
    return rows


def parsed(cell: Any) -> Any:
    """Return a cell with JSON text read, and arrays as lists; what is no JSON stays as it is."""
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    if isinstance(cell, tuple):
        return list(cell)
    if isinstance(cell, str) and cell.strip()[:1] in ("[", "{"):
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell


def _list_of(cell: Any, name: str) -> list[Any]:
    found = parsed(cell)
    if isinstance(found, list):
        return found
    if found is None or found is pd.NA or (isinstance(found, float) and found != found) or found == "":
        raise LabelError(f"{name} has no label. Put [] where a text has no entities, or drop the row.")
    raise LabelError(f"{name} holds {_cut(cell)}, which is no list of spans such as {_FORM}.")


def _span(value: Any, text: str, name: str) -> Span:
    if not isinstance(value, Mapping):
        raise LabelError(f"{name} holds {_cut(value)}, which is no span. A span is a dict as in {_FORM}.")
    known = [key for key in LABEL_KEYS if key in value]
    lacking = [key for key in ("start", "end") if key not in value] + ([] if known else ["label"])
    if lacking:
        raise LabelError(f"{name}: the span {_cut(value)} has no {' and no '.join(map(repr, lacking))}. See {_FORM}.")
    label = plain(value[known[0]])
    if not is_name(label) or (isinstance(label, str) and not label.strip()):
        raise LabelError(f"{name}: the span {_cut(value)} has the label {label!r}. A label is a text or a number.")
    start, end = _place(value, "start", name), _place(value, "end", name)
    if not 0 <= start < end <= len(text):
        raise LabelError(
            f"{name}: the span {_cut(value)} is not inside of its text, which has {len(text)} characters. "
            "Characters are counted from 0 as Python does, and the end is behind the last one."
        )
    said = value.get("text")
    if isinstance(said, str) and said != text[start:end] and said.strip() != text[start:end].strip():
        raise LabelError(
            f"{name}: the span {_cut(value)} says that its text is {said[:_SHOWN]!r}, and these characters are "
            f"{text[start:end][:_SHOWN]!r}. Count characters as Python does, not bytes."
        )
    return Span(start, end, label)


def _place(value: Mapping[str, Any], key: str, name: str) -> int:
    place = plain(value[key])
    whole = not isinstance(place, bool) and isinstance(place, numbers.Real) and float(place).is_integer()
    if not whole:
        raise LabelError(f"{name}: {key!r} of the span {_cut(value)} is {place!r}, not a whole number.")
    return int(place)


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 2 * _SHOWN else text[: 2 * _SHOWN] + "…"
