"""Frames of marked texts: which column holds the texts, and where the entities are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.request import Request
from thermocline.data.cells import CellRules
from thermocline.data.columns import Columns, infer_columns
from thermocline.data.frames import check_columns, check_frame, check_names, read_frame
from thermocline.data.label_columns import check_there
from thermocline.data.row_names import plain
from thermocline.errors import ColumnTypeError, ConfigError, DataError, LabelError, did_you_mean, listing
from thermocline.inputs.labelled_frames import drop_weightless
from thermocline.problems.token_classification.conll import is_conll, read_conll
from thermocline.problems.token_classification.span_cells import parsed, read_spans
from thermocline.problems.token_classification.spans import Span, Spans, row_name, settled
from thermocline.problems.token_classification.tags import joined, tag_spans, tokens_of

_HALVES = re.compile("[\ud800-\udfff]")
TEXT = "text"
"""The column that the sentences of a CoNLL file are put into, where training decides its name."""


def check_arguments(request: Request) -> None:
    """Check arguments that are for other problems.

    Raises:
        ConfigError: One of them is set.
    """
    if not isinstance(request.label, str):
        raise ConfigError(f"The label of token_classification is one column of spans, not {request.label!r}.")
    if request.weight == request.label:
        raise ConfigError(f"sample_weight {request.weight!r} is the label. Name another column.")
    if request.column_types is not None and not isinstance(request.column_types, Mapping):
        raise ConfigError(
            f"column_types maps a column to its type, such as {{'note': 'text'}}, not {request.column_types!r}."
        )
    odd = {name: kind for name, kind in dict(request.column_types or {}).items() if kind not in ("text", "null")}
    if odd:
        raise ConfigError(
            f"column_types={odd!r}: token_classification reads one column of texts alone. Say 'text' of it, and leave "
            "the others out ('null')."
        )


def read_marked(data: object, reading: Reading) -> Labelled:
    """Read texts, and the entities in them where labels are needed.

    Raises:
        DataError: Data that cannot be read, or that have not one column of texts.
        LabelError: Labels that cannot be used.
    """
    label, weight, what = str(reading.request.label), reading.request.weight, reading.what
    needed = reading.purpose != "predict"
    path = Path(data).expanduser() if isinstance(data, str | Path) else None
    if path is not None and is_conll(path):
        return _of_conll(path, reading)
    rules = CellRules((label,), typed=frozenset([weight] if weight else []), written=True)
    frame, _ = read_frame(data, rules)
    check_names(frame, what=what)
    if reading.for_fit or (reading.purpose == "score" and not len(frame)):
        check_frame(frame, what=what)
    if needed:
        check_there(frame, (label,), what=what)
    notes: list[str] = []
    if reading.for_fit:
        frame, notes = drop_weightless(frame, weight, what)
    column = _text_column(frame, reading)
    check_columns(frame, [column], what=what)
    by_tokens = reading.config["data.token_column"] is not None
    tokens = _tokens(frame, column, what) if by_tokens else None
    texts = [joined(one)[0] for one in tokens] if tokens is not None else _texts(frame, column, what)
    kept = [name for name in (label, weight) if name is not None and name in frame.columns]
    read = frame[kept].assign(**{}).copy()
    read.insert(0, column, pd.Series(texts, index=frame.index, dtype=object))
    if not needed:
        return Labelled(read)
    spans = _spans(frame, label, texts, tokens, reading)
    return Labelled(read, labels=spans, notes=(*notes, *spans.notes))


def text_columns(found: Labelled, request: Request) -> Columns:
    """Return the column of texts."""
    name = next(iter(found.frame.columns))
    columns = infer_columns(found.frame[[name]], column_types={name: "text"})
    del request
    return columns


def _of_conll(path: Path, reading: Reading) -> Labelled:
    tokens, tags = read_conll(path)
    label = str(reading.request.label)
    column = reading.columns.of("text")[0] if reading.columns is not None else TEXT
    if column == label:
        raise ConfigError(f"The label {label!r} is the name of the column of texts. Call the label something else.")
    texts = [joined(one)[0] for one in tokens]
    frame = pd.DataFrame({column: pd.Series(texts, dtype=object), label: pd.Series(tags, dtype=object)})
    where = f"{path.name!r}"
    found = tag_spans(tokens, tags, where, frame.index)
    spans = settled(found, texts, where, frame.index, longest=False, reason="tags of a CoNLL file")
    return Labelled(frame, labels=None if reading.purpose == "predict" else spans)


def _text_column(frame: pd.DataFrame, reading: Reading) -> str:
    """Return the column of texts, or of tokens.

    Raises:
        ConfigError: Options that name a column that is not there, or two of them.
        DataError: No column of texts, or several.
    """
    if reading.columns is not None:
        return reading.columns.of("text")[0]
    request, config, what = reading.request, reading.config, reading.what
    types = dict(request.column_types or {})
    named = {
        f"data.{name}": config[f"data.{name}"] for name in ("token_column", "text_column") if config[f"data.{name}"]
    }
    named |= {f"column_types[{name!r}]": name for name, kind in types.items() if kind == "text"}
    if len(set(named.values())) > 1:
        raise ConfigError(f"Two columns of texts are named: {named!r}. token_classification reads one; name it alone.")
    own = [name for name in frame.columns if name not in (request.label, request.weight)]
    for where, name in named.items():
        if name not in own:
            raise ConfigError(f"{where}={name!r} is no column of {what}: {listing(own)}.{did_you_mean(name, own)}")
        return str(name)
    return _only_text(frame[[name for name in own if types.get(name) != "null"]], what)


def _only_text(frame: pd.DataFrame, what: str) -> str:
    lists = [name for name in frame.columns if any(isinstance(parsed(cell), list) for cell in frame[name].tolist())]
    words = [name for name in frame.columns if name not in lists and any(map(_is_words, frame[name].tolist()))]
    if len(words) == 1:
        return words[0]
    columns = infer_columns(frame.drop(columns=lists))
    texts = columns.of("text") or words
    if len(texts) == 1:
        return texts[0]
    if texts:
        raise DataError(
            f"{what} has {len(texts)} columns of texts: {listing(texts)}. Entities are in one of them: name it with "
            f"data.text_column={texts[0]!r}, or drop the others."
        )
    hint = f" {listing(lists)} holds lists: if these are tokens, set data.token_column={lists[0]!r}." if lists else ""
    held = listing([f"{one.name}: {one.kind}" for one in columns])
    raise DataError(f"{what} has no column of texts ({held or 'there is only the label'}).{hint}")


def _is_words(cell: object) -> bool:
    return isinstance(cell, str) and any(char.isalpha() for char in cell)


def _texts(frame: pd.DataFrame, column: str, what: str) -> list[str]:
    """Return texts as they are written; a missing one is empty."""
    texts = []
    for row, cell in enumerate(frame[column].tolist()):
        value = plain(cell)
        if value is None or value is pd.NA or (isinstance(value, float) and value != value):
            texts.append("")
        elif isinstance(value, str):
            texts.append(whole(value))
        elif isinstance(value, (bool, int, float)):
            texts.append(str(value))
        else:
            raise ColumnTypeError(
                f"Column {column!r} of {what} holds texts, and {row_name(frame.index, row)} holds "
                f"{repr(value)[:60]}. Of lists of tokens: set data.token_column={column!r}."
            )
    return texts


def whole(text: str) -> str:
    """Return a text in which halves of surrogate pairs, which no tokenizer reads, are U+FFFD; its length stays."""
    return _HALVES.sub("\ufffd", text)


def _tokens(frame: pd.DataFrame, column: str, what: str) -> list[list[str]]:
    index = frame.index
    name = f"Column {column!r} of {what}"
    return [
        [whole(one) for one in tokens_of(cell, f"{name}, {row_name(index, row)}")]
        for row, cell in enumerate(frame[column].tolist())
    ]


def _spans(
    frame: pd.DataFrame, label: str, texts: list[str], tokens: list[list[str]] | None, reading: Reading
) -> Spans:
    """Return the entities of a frame.

    Raises:
        LabelError: Labels that cannot be used.
    """
    where, cells = f"Label {label!r} of {reading.what}", frame[label].tolist()
    longest = reading.config["data.overlapping_spans"] == "longest"
    found: list[list[Span]]
    if tokens is not None:
        found, reason = tag_spans(tokens, cells, where, frame.index), "tags of tokens"
    else:
        _check_no_tags(cells, frame, where, label)
        found, reason = read_spans(cells, texts, where, frame.index), "spans of characters"
    return settled(found, texts, where, frame.index, longest=longest, reason=reason)


def _check_no_tags(cells: list[Any], frame: pd.DataFrame, where: str, label: str) -> None:
    """Check that the first cell does not hold tags, which need tokens.

    Raises:
        LabelError: It does.
    """
    first = next((parsed(cell) for cell in cells if not isinstance(cell, float) and cell is not None), None)
    of_list = isinstance(first, list) and bool(first) and all(isinstance(one, str | int) for one in first)
    of_text = isinstance(first, str) and bool(first) and all(one == "O" or one[1:2] == "-" for one in first.split())
    if of_list or of_text:
        others = [name for name in frame.columns if name != label]
        raise LabelError(
            f"{where} holds tags of tokens ({repr(first)[:60]}), not spans of characters. Name the column that holds "
            f"the tokens: data.token_column, one of {listing(others)}."
        )
