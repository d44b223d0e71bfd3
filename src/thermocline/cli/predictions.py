"""Predictions as a command writes them: CSV, or JSON with a line per row, with columns of the data before them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from thermocline.cli.parts import json_line
from thermocline.data.image_files import FILE
from thermocline.errors import ConfigError, DataError, MissingColumnError, counted, did_you_mean, listing
from thermocline.report.output import encodable


@dataclass(frozen=True)
class Predictions:
    """What was predicted.

    Attributes:
        values: Predictions, a column per label (or of an interval); None where only probabilities were asked for.
        probabilities: A column per class or label; None where they were not asked for.
    """

    values: pd.DataFrame | None
    probabilities: pd.DataFrame | None = None

    @property
    def rows(self) -> pd.DataFrame:
        """One of the two tables, whose index and length both have."""
        found = self.values if self.values is not None else self.probabilities
        assert found is not None
        return found


def read_kept(data: str, names: Sequence[str], *, typed: bool) -> pd.DataFrame | None:
    """Return columns of a table; None where none are to be kept.

    Args:
        data: The path of a table.
        names: The columns, in the order to write them.
        typed: Whether numbers become numbers; else the cells of a CSV file stay as they are written.

    Raises:
        MissingColumnError: The table lacks one.
        DataError: It is no table, or cannot be read.
    """
    from thermocline.data.cells import CellRules
    from thermocline.data.frames import read_frame

    if not names:
        return None
    if Path(data).is_dir():
        raise DataError(f"--keep is for columns of a table, and {data!r} is a folder. Leave it out: `file` is written.")
    rules = CellRules() if typed else CellRules(labels=tuple(names), typed=frozenset())
    frame, _ = read_frame(data, rules)
    for name in names:
        if name not in frame.columns:
            near = did_you_mean(name, frame.columns)
            raise MissingColumnError(f"--keep {name}: {data!r} has {listing(frame.columns)}.{near}")
    return frame[list(dict.fromkeys(names))].reset_index(drop=True)


def images_folder(predictor: Any, given: argparse.Namespace) -> str | None:
    """Return the folder in which predictions that are images are written; None where they are values.

    Args:
        predictor: The fitted predictor.
        given: The command line; its `out` is that folder.

    Raises:
        ConfigError: They are images, and no folder is named.
    """
    assembly = predictor._fitted()
    try:
        assembly.problem.check_written(assembly.target)
    except ConfigError:
        return None
    if given.out is None and not (given.proba or given.proba_only or given.interval is not None):
        raise ConfigError(
            f"Predictions of {assembly.target.problem_type} are images, which no screen and no table can hold. Name a "
            "folder for them: --out FOLDER."
        )
    out: str | None = given.out
    return out


def predicted(predictor: Any, given: argparse.Namespace, images: str | None = None) -> Predictions:
    """Return what a command asks for.

    Args:
        predictor: The fitted predictor.
        given: The command line.
        images: As `images_folder` returns it.

    Raises:
        ThermoclineError: As `Predictor.predict` and the others.
    """
    how = {"image_folder": given.image_folder}
    if given.interval is not None:
        return Predictions(predictor.predict_interval(given.data, given.interval, **how))
    if given.proba_only:
        return Predictions(None, predictor.predict_proba(given.data, **how))
    if given.proba:
        values, probabilities = predictor._predict_both(given.data, **how)
        return Predictions(_as_frame(values), probabilities)
    return Predictions(_as_frame(predictor.predict(given.data, out=images, **how)))


def write_csv(found: Predictions, kept: pd.DataFrame | None, out: str | None) -> None:
    """Write a header and a line per row: what is kept, predictions, probabilities.

    Args:
        found: The predictions.
        kept: Columns of the data.
        out: The file; to the screen where there is none.

    Raises:
        ConfigError: Two columns would have one name.
    """
    parts = [] if found.values is None else [found.values.apply(_as_cells)]
    if found.probabilities is not None:
        parts.append(found.probabilities if found.values is None else found.probabilities.add_prefix("p_"))
    table = pd.concat(parts, axis=1) if len(parts) > 1 else parts[0]
    if kept is not None:
        table = pd.concat([_aligned(kept, table), table], axis=1)
    names = list(map(str, table.columns))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"The output would have more than one column named {listing(twice)}: one of --keep, and one of the "
            "predictions. Leave it out of --keep, or use --json, where the two are apart."
        )
    _write(partial(table.to_csv, index=table.index.name == FILE), len(table), out)


def write_json(found: Predictions, kept: pd.DataFrame | None, out: str | None) -> None:
    """Write a line of JSON per row: `{"kept": {…}, "prediction": …, "probabilities": {…}}`, what there is of them.

    Args:
        found: The predictions.
        kept: Columns of the data.
        out: The file; to the screen where there is none.
    """
    text = "".join(f"{json_line(row)}\n" for row in _records(found, kept))
    if out is None:
        if sys.stdout is not None:
            sys.stdout.write(text)
        return
    Path(out).write_text(text, encoding="utf-8")
    _say_written(len(found.rows), out)


def _records(found: Predictions, kept: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    count = len(found.rows)
    before = [None] * count if kept is None else _aligned(kept, found.rows).to_dict(orient="records")
    values = [None] * count if found.values is None else found.values.to_dict(orient="records")
    shares = [None] * count if found.probabilities is None else found.probabilities.to_dict(orient="records")
    files = found.rows.index if found.rows.index.name == FILE else [None] * count
    for file, cells, value, proba in zip(files, before, values, shares, strict=True):
        row: dict[str, Any] = {} if file is None else {FILE: file}
        row |= {} if cells is None else {"kept": cells}
        if value is not None:
            row["prediction"] = next(iter(value.values())) if len(value) == 1 else value
        yield row if proba is None else row | {"probabilities": proba}


def _as_frame(values: Any) -> pd.DataFrame:
    return values.to_frame() if isinstance(values, pd.Series) else values


def _as_cells(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as a CSV file has it: lists, such as boxes, as JSON."""
    if not any(isinstance(value, list) for value in column):
        return column
    return column.map(partial(json.dumps, ensure_ascii=False))


def _aligned(kept: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that are kept on the index of the predictions, row by row."""
    if len(kept) != len(table):
        raise DataError(
            f"--keep has {counted(len(kept), 'row')}, and {counted(len(table), 'prediction')} were made. Leave it out."
        )
    return kept.set_axis(table.index)


def _write(to_csv: Any, count: int, out: str | None) -> None:
    if out is not None:
        to_csv(out)
        _say_written(count, out)
    elif sys.stdout is not None:
        text = to_csv()
        if not encodable(text):
            print(
                f"thermocline: the output is {sys.stdout.encoding}; letters that it lacks are written as \\uXXXX. "
                "--out FILE writes UTF-8.",
                file=sys.stderr,
            )
        sys.stdout.write(text)


def _say_written(count: int, out: str) -> None:
    print(f"{counted(count, 'prediction')} written to {out}", file=sys.stderr)
