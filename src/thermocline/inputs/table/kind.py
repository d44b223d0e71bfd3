"""Numeric and categorical columns as one input: tower, rows, and their part of a saved predictor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.config.overrides import BY_HAND
from thermocline.contracts.exporting import ROWS, InputForm
from thermocline.contracts.inputs import BuiltInput, InputKind, RowSource
from thermocline.contracts.showing import Parts, View
from thermocline.contracts.starting import NotTakenError
from thermocline.data.column_values import numbers
from thermocline.data.columns import Column, Columns
from thermocline.data.row_part import RowPart
from thermocline.errors import listing
from thermocline.inputs.table.info import INFO
from thermocline.inputs.table.processor import CLIP, TableProcessor
from thermocline.inputs.table.tower import TableTower, number_bins
from thermocline.inputs.table.views import cell_text, table_views
from thermocline.tuning.layers.layer_map import LayerMap

ORDER = ["stem", "blocks.*", "out"]
"""The tower's layers, in execution order; there is nothing to train in the `out` of an ensemble."""

MEMBERS = "model.table.members"


class TableInput(InputKind):
    """Numeric and categorical columns."""

    info = INFO

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Nothing can be wrong that the options' own ranges do not show."""

    def usable_rows(
        self, source: RowSource, columns: Columns, config: ResolvedConfig, *, what: str
    ) -> tuple[np.ndarray | None, list[str]]:
        """Convert numeric columns once: a value that is no number, or infinite, shows before anything is loaded."""
        del config, what
        for column in columns:
            if column.kind == "numeric":
                numbers(source.frame[column.name], column)
        return None, []

    def build(self, source: RowSource, columns: Columns, config: ResolvedConfig) -> BuiltInput:
        """Fit the processor to the training rows, and build the tower with random weights."""
        options, alone = config.model.table, _alone(columns)
        processor = TableProcessor.fit(source.frame, columns, max_categories=config.data.max_categories)
        tower = TableTower(
            number_bins(processor.rows(source.frame), options.bins),
            processor.cardinalities,
            width=options.width,
            blocks=options.blocks,
            dropout=options.dropout,
            embedding=options.embedding,
            members=options.members if alone else 0,
        )
        if not alone and config.provenance.get(MEMBERS) == BY_HAND:
            tower.notes = (f"{MEMBERS} has no effect beside other kinds of columns. Leave it out.",)
        return BuiltInput(self, processor, tower, config)

    def continued(self, before: BuiltInput, source: RowSource, columns: Columns, config: ResolvedConfig) -> BuiltInput:
        """Return the tower with medians, spreads and categories of the earlier rows; all columns have to be the same.

        A category that they did not have counts as missing, as in `predict`.
        """
        del source
        old: TableProcessor = before.processor
        has = {column.name: column.kind for column in (*old.numeric, *old.categorical)}
        now = {column.name: column.kind for column in columns if column.kind in INFO.column_types}
        if now != has:
            raise NotTakenError(_other_columns(now, has))
        if before.tower.members and not _alone(columns):
            raise NotTakenError("it is an ensemble, which a table alone has, and there are other columns now")
        return BuiltInput(self, old, copy.deepcopy(before.tower), config)

    def rows(self, built: BuiltInput, source: RowSource) -> RowPart:
        """Turn the columns of a frame into arrays."""
        processor: TableProcessor = built.processor
        return processor.rows(source.frame)

    def views(
        self, built: BuiltInput, frame: pd.DataFrame, part: Any, rows: np.ndarray, epoch: int | None
    ) -> list[list[View]]:
        """Return the cells, with what they are read as."""
        del epoch
        return table_views(built.processor, frame, part, rows)

    def parts(self, built: BuiltInput, column: Column, cell: object, folder: Path | None, grid: int) -> Parts:
        """Return the cell as one part."""
        del built, column, folder, grid
        return Parts((cell_text(cell),), (None,))

    def layers(self, tower: Any) -> Mapping[str, LayerMap]:
        """Return the tower's layers; they are known, whatever their share of the parameters."""
        order = ORDER[:-1] if tower.members else ORDER
        return {"": LayerMap.from_patterns(tower, order, tower=INFO.name, pretrained=False)}

    def describe(self, built: BuiltInput, folder: Path) -> dict[str, Any]:
        """Return processor and tower; no files are written."""
        del folder
        tower: Any = built.tower
        described = {"bins": tower.bins, "cardinalities": tower.cardinalities, **tower.options}
        return {"processor": built.processor.to_dict(), "tower": described}

    def rebuild(
        self, described: Mapping[str, Any], folder: Path, config: ResolvedConfig, *, trust_remote_code: bool
    ) -> BuiltInput:
        """Build the tower from its description, with random weights."""
        del folder, trust_remote_code
        processor = TableProcessor.from_dict(described["processor"])
        return BuiltInput(self, processor, TableTower(**described["tower"]), config)

    def export_form(self, built: BuiltInput, folder: Path) -> InputForm:
        """Return medians, spreads and vocabularies."""
        del folder
        processor: TableProcessor = built.processor
        settings = {
            "numeric": [{"name": column.name, "form": column.form} for column in processor.numeric],
            "categorical": [{"name": column.name, "form": column.form} for column in processor.categorical],
            "centre": list(processor.centre),
            "scale": list(processor.scale),
            "vocabularies": [list(vocabulary) for vocabulary in processor.vocabularies],
            "clip": CLIP,
        }
        axes = dict.fromkeys(("numbers", "missing", "codes"), (ROWS, None))
        sources = ("thermocline.data.standalone_cells", "thermocline.inputs.table.standalone")
        return InputForm(axes, partial(_example, processor), settings, "TableReader", sources)


def _example(processor: TableProcessor, rows: int) -> dict[str, np.ndarray]:
    """Return arrays of made-up rows."""
    rng = np.random.default_rng(rows)
    missing = (rng.random((rows, len(processor.numeric))) < 0.2).astype(np.float32)
    numbers = rng.uniform(-CLIP, CLIP, missing.shape).astype(np.float32) * (1 - missing)
    codes = [rng.integers(0, codes, rows) for codes in processor.cardinalities]
    return {
        "numbers": numbers,
        "missing": missing,
        "codes": np.array(codes, dtype=np.int64).reshape(-1, rows).T.copy(),
    }


def _other_columns(now: Mapping[str, str], has: Mapping[str, str]) -> str:
    """Return in which columns a table differs from the one that a tower was built for."""
    parts = []
    for what, names in (("new", now.keys() - has.keys()), ("missing", has.keys() - now.keys())):
        if names:
            parts.append(f"{what} {listing(sorted(names))}")
    other = [f"{name!r} is {now[name]} and was {has[name]}" for name in now if has.get(name, now[name]) != now[name]]
    return f"its columns are others: {', '.join([*parts, *other])}"


def _alone(columns: Columns) -> bool:
    """Whether no column is for another kind of input."""
    return all(column.kind in (*INFO.column_types, "null") for column in columns)
