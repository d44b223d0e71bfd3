"""Numeric and categorical columns as one input, described without importing it."""

from __future__ import annotations

from thermocline.inputs.table.options import TableDataOptions, TableOptions
from thermocline.registry import InputInfo

INFO = InputInfo(
    name="table",
    implementation="thermocline.inputs.table.kind:TableInput",
    column_types=("numeric", "categorical"),
    options={"model.table": TableOptions, "data": TableDataOptions},
    reads=frozenset({"model.trees"}),
    free_options=frozenset({"model.table.frozen_layers"}),
)
