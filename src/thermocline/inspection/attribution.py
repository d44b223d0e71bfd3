"""What the parts of a row add to a prediction: words, fields of an image, cells, hidden one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.inputs import BuiltInput
from thermocline.contracts.labelled import Labelled
from thermocline.contracts.problem import Assembly
from thermocline.contracts.showing import CellParts, Parts
from thermocline.data.column_rules import missing_mask
from thermocline.errors import ConfigError, DataError, did_you_mean, listing
from thermocline.inspection.attributed import Attribution
from thermocline.inspection.checks import used_columns
from thermocline.inspection.gradients import METHODS, attributed_by_gradients, check_captum
from thermocline.pipeline.arguments import whole_number
from thermocline.pipeline.predict import found_rows, outputs_of

OCCLUSION = "occlusion"
MOST_GRID = 32
WAYS = (OCCLUSION, *METHODS)


@dataclass(frozen=True)
class Way:
    """How parts are told what they add.

    Attributes:
        method: `occlusion`, or one of `gradients.METHODS`.
        columns: Columns; None: all that the model reads.
        of: A class or label; None: what is predicted.
        grid: Rows and columns of fields of an image, where they are hidden.
    """

    method: str = OCCLUSION
    columns: Any = None
    of: Any = None
    grid: int = 7

    def check(self) -> None:
        """Check the arguments, and that captum is there where it is needed.

        Raises:
            ConfigError: There is no such method.
            MissingDependencyError: captum is not installed.
        """
        if self.method not in WAYS:
            raise ConfigError(f"method={self.method!r} is none of {listing(WAYS)}.{did_you_mean(self.method, WAYS)}")
        whole_number("grid", self.grid, 1, MOST_GRID)
        if self.method != OCCLUSION:
            check_captum(self.method)


def attribution(
    assembly: Assembly, data: object, way: Way, *, image_folder: object = None, verbosity: int = 0
) -> Attribution:
    """Return what the parts of one row add to what the model predicts.

    Args:
        assembly: The fitted model.
        data: One row, as `predict`.
        way: How.
        image_folder: As `predict`.
        verbosity: As `predict`.

    Raises:
        ConfigError: An argument, or a problem that has no number of a row.
        DataError: Not one row, or as `predict`.
    """
    way.check()
    assembly.problem.check_attribution(assembly.target)
    columns = used_columns(assembly, way.columns)
    found = found_rows(assembly, data, "predict", image_folder)
    if len(found) != 1:
        raise DataError(f"attribution is of one row, and the data have {len(found):,}. Pass frame.iloc[[0]].")
    if way.method != OCCLUSION:
        outputs = outputs_of(assembly, found, verbosity=verbosity)
        given = None if way.columns is None else columns
        return attributed_by_gradients(assembly, found, outputs, way.method, columns=given, of=way.of)
    parts = {name: _parts(assembly, name, found, way.grid) for name in columns}
    hidden = replace(found, frame=_hidden(found.frame, parts))
    outputs = outputs_of(assembly, hidden, verbosity=verbosity)
    explained = assembly.problem.explained(outputs, assembly.target, way.of)
    whole_row, without = float(explained.values[0]), explained.values[1:]
    ends = np.cumsum([len(one.cells) for one in parts.values()])[:-1]
    cells = tuple(
        _cell(name, one, whole_row - own)
        for (name, one), own in zip(parts.items(), np.split(without, ends), strict=True)
    )
    how = "what changes when a part is hidden (occlusion)"
    return Attribution(explained.what, whole_row, OCCLUSION, how, str(found.frame.index[0]), cells)


def _parts(assembly: Assembly, name: str, found: Labelled, grid: int) -> Parts:
    """Return the parts of a cell; none where it is missing."""
    column, cell = assembly.columns[name], found.frame[name].iloc[0]
    if missing_mask(found.frame[name], words=column.kind == "numeric")[0]:
        return Parts((), ())
    one = input_of(assembly.built.inputs, column.kind)
    if one is None:
        raise ConfigError(f"attribution knows no parts of {name!r}, a column of type {column.kind}. Leave it out.")
    return one.kind.parts(one, column, cell, found.folder, grid)


def input_of(inputs: Mapping[str, BuiltInput], kind: str) -> BuiltInput | None:
    """Return the input that reads columns of a type, or None where there is none."""
    return next((one for one in inputs.values() if kind in one.kind.info.column_types), None)


def _hidden(frame: pd.DataFrame, parts: Mapping[str, Parts]) -> pd.DataFrame:
    """Return the row as it is, and behind it a row for each part, without that part."""
    rows = 1 + sum(len(one.cells) for one in parts.values())
    made = frame.iloc[np.zeros(rows, dtype=int)].reset_index(drop=True)
    start = 1
    for name, one in parts.items():
        if not one.cells:
            continue
        cells: list[object] = [frame[name].iloc[0]] * rows
        cells[start : start + len(one.cells)] = one.cells
        made[name] = pd.Series(cells, index=made.index, dtype=object)
        start += len(one.cells)
    return made


def _cell(name: str, parts: Parts, added: np.ndarray) -> CellParts:
    values = added.reshape(parts.grid) if parts.picture is not None else added
    return CellParts(name, parts.texts, np.asarray(values, dtype=np.float64), parts.picture)
