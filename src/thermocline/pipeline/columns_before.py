"""The columns of a fit that starts from a fitted predictor: they are read as that one read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from thermocline.contracts.request import Request
from thermocline.data.columns import Column, Columns
from thermocline.data.label_columns import label_columns


def with_column_types(request: Request, names: Iterable[Any]) -> Request:
    """Return a request in which columns have the types of the earlier fit, but for those that are given now.

    Args:
        request: What was asked for.
        names: The columns that there are.
    """
    if request.earlier is None:
        return request
    there = set(names) - set(label_columns(request.label)) - {request.weight}
    before = {one.name: one.kind for one in request.earlier.assembly.columns if one.name in there}
    return replace(request, column_types={**before, **(request.column_types or {})})


def as_before(columns: Columns, request: Request) -> Columns:
    """Return columns as the earlier fit read them, where they have the same type; the values were read by its rules."""
    if request.earlier is None:
        return columns
    before = {one.name: one for one in request.earlier.assembly.columns}
    return Columns(tuple(_as_before(one, before.get(one.name), request) for one in columns))


def _as_before(now: Column, was: Column | None, request: Request) -> Column:
    if was is None or was.kind != now.kind or now.name in (request.column_types or {}):
        return now
    form = now.form if now.kind == "image" else was.form
    return replace(now, form=form, reason=f"as in {request.earlier.where}")
