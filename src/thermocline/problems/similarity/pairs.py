"""The sides of pairs: which columns they are, of which type, and that no cell of them is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.contracts.labelled import Labelled
from thermocline.contracts.request import Request
from thermocline.data.column_rules import missing_mask
from thermocline.data.columns import Column, Columns, infer_columns
from thermocline.data.frames import check_columns
from thermocline.data.image_columns import check_images_read
from thermocline.data.label_columns import label_columns
from thermocline.data.row_names import first_rows
from thermocline.errors import ColumnTypeError, ConfigError, DataError, counted, listing
from thermocline.inputs.image.cell_identity import cell_names
from thermocline.problems.similarity.options import PairOptions
from thermocline.problems.similarity.target import ORDER

KINDS = ("text", "image")


def asked_roles(request: Request, config: ResolvedConfig) -> dict[str, str]:
    """Return side → column, for the sides that were named."""
    negative = config.section("data", PairOptions).negative
    return {**request.roles, **({} if negative is None else {"negative": negative})}


def pair_columns(found: Labelled, request: Request, asked: Mapping[str, str]) -> tuple[Columns, dict[str, str]]:
    """Return the columns, the sides first and in order, and side → column.

    Args:
        found: The frame.
        request: Label, weight and column types.
        asked: The sides that were named.

    Raises:
        DataError: There are no two columns for the sides.
        ConfigError: A side is the label, the weight or another side.
        ColumnTypeError: A side that is neither text nor images.
    """
    frame, given, roles = found.frame, dict(request.column_types or {}), dict(asked)
    left = [*label_columns(request.label), *([request.weight] if request.weight else [])]
    _check_roles(roles, left)
    check_columns(frame, roles.values(), what="train_data")
    inferred = infer_columns(frame, exclude=left, column_types=given)
    if "query" not in roles or "response" not in roles:
        roles = _guessed(inferred, roles)
    roles = {name: roles[name] for name in ORDER if name in roles}
    sides = [_side(inferred[name], role, given) for role, name in roles.items()]
    check_images_read(Columns(tuple(sides)))
    if len(sides) > 2 and sides[1].kind != sides[2].kind:
        raise ColumnTypeError(
            f"response {sides[1].name!r} is {sides[1].kind} and data.negative {sides[2].name!r} is {sides[2].kind}. "
            "Both are of one type: overrule it with column_types."
        )
    others = [replace(one, kind="null", reason=_unused(one)) for one in inferred if one.name not in roles.values()]
    return Columns((*sides, *others)), roles


def _check_roles(roles: Mapping[str, str], left: Sequence[str]) -> None:
    names = list(roles.values())
    wrong = [f"{role}={name!r}" for role, name in roles.items() if name in left or names.count(name) > 1]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: a column has one use. Query, response, data.negative, label and sample_weight are "
            "different columns."
        )


def _guessed(columns: Columns, roles: Mapping[str, str]) -> dict[str, str]:
    """Return the roles, those that were not given filled from the columns of texts and images, where they are two."""
    fitting = [one.name for one in columns if one.kind in KINDS and one.name not in roles.values()]
    missing = [role for role in ("query", "response") if role not in roles]
    if len(fitting) != len(missing):
        asked = ", ".join(f"{role}='...'" for role in missing)
        raise DataError(
            f"train_data has {counted(len(fitting), 'column')} of texts or images"
            f"{f' ({listing(fitting)})' if fitting else ''} for {listing(missing)}. Name "
            f"{'them' if len(missing) > 1 else 'it'}: Predictor(label, problem_type='similarity', {asked})."
        )
    return {**roles, **dict(zip(missing, fitting, strict=True))}


def _side(column: Column, role: str, given: Mapping[str, str]) -> Column:
    """Return the column of a side: images where they are such, else text, unless another type was given."""
    if column.kind in KINDS:
        return replace(column, reason=f"{role}; {column.reason}")
    if column.name in given or column.form == "images not read":
        if column.form == "images not read":
            return column
        raise ColumnTypeError(
            f"column_types says that the {role} {column.name!r} is {given[column.name]!r}. A side is text or image."
        )
    return replace(column, kind="text", form="text", reason=f"{role}; read as text")


def _unused(column: Column) -> str:
    return column.reason if column.kind == "null" else "no side of the pairs: not used"


def guess_note(request: Request, roles: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note where sides were not named."""
    if {"query", "response"} <= request.roles.keys():
        return ()
    return (f"query is {roles['query']!r} and response {roles['response']!r}, in the order of the columns",)


def check_sides(frame: pd.DataFrame, names: Sequence[str], *, what: str) -> None:
    """Check that every row has all its sides.

    Raises:
        DataError: With the rows where one is missing.
    """
    for name in names:
        missing = missing_mask(frame[name])
        if missing.any():
            raise DataError(
                f"Column {name!r} of {what} is missing in {counted(int(missing.sum()), 'row')} of {len(frame):,}: "
                f"{first_rows(frame.index, missing)}. A pair has all its sides. Fill the cells, or drop the rows: "
                f"frame.dropna(subset={[*names]!r})."
            )


def contents(frame: pd.DataFrame, names: Sequence[str], columns: Columns) -> np.ndarray:
    """Return numbers of the contents of the sides, float64 `(rows, sides)`: equal where text or image are the same.

    Args:
        frame: The rows.
        names: The columns of the sides.
        columns: The types of the columns.
    """
    keys = [key for name in names for key in _keys(frame[name], columns[name].kind)]
    codes, _ = pd.factorize(pd.Series(keys, dtype=object))
    return np.asarray(codes.reshape(len(names), -1).T, dtype=np.float64)


def _keys(cells: pd.Series[Any], kind: str) -> Iterator[Any]:
    if kind == "image":
        yield from cell_names(cells.astype(object).tolist())
    else:
        yield from (str(cell).strip() for cell in cells)
