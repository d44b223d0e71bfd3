"""What a kind of input offers: rows, a tower, its layers, and its part of a saved predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.contracts.exporting import InputForm
from thermocline.contracts.showing import Differentiable, Parts, View
from thermocline.contracts.starting import NotTakenError
from thermocline.contracts.tower import Tower
from thermocline.data.columns import Column, Columns
from thermocline.data.row_part import RowPart
from thermocline.errors import ExportError
from thermocline.registry import InputInfo
from thermocline.tuning.layers.layer_map import LayerMap

if TYPE_CHECKING:
    import torch


class FormJudge(Protocol):
    """Says which of several forms of features tells the most about the labels of the training rows."""

    def rows(self, most: int) -> np.ndarray:
        """Return sorted positions of at most this many training rows: a function of the seed."""

    def choose(self, rows: np.ndarray, forms: Mapping[str, Sequence[np.ndarray]]) -> tuple[str, str]:
        """Return the name of a form, and why it was chosen.

        Args:
            rows: Positions of the rows, from `rows`.
            forms: Name → blocks of features of these rows, float `(rows, width)` each, the cheapest form first.
        """


@dataclass(frozen=True)
class RowSource:
    """A frame on its way to rows.

    Attributes:
        frame: The rows.
        folder: Where relative paths start, or None where there are none.
        training: Whether rows are augmented, as in training.
        seed: The run's seed; augmentation is a function of (seed, epoch, row).
        judge: Compares forms of features by the labels of these rows, for inputs that have a choice; or None.
    """

    frame: pd.DataFrame
    folder: Path | None = None
    training: bool = False
    seed: int = 0
    judge: FormJudge | None = None


@dataclass(frozen=True)
class BuiltInput:
    """An input that was built for a model.

    Attributes:
        kind: The kind of input.
        processor: What turns frames into rows; the kind's own.
        tower: Its tower.
        config: The configuration, with what this input chose.
    """

    kind: InputKind
    processor: Any
    tower: Tower
    config: ResolvedConfig

    def rows(self, source: RowSource) -> RowPart:
        """Turn a frame into rows.

        Raises:
            DataError: A cell that does not fit its column.
        """
        return self.kind.rows(self, source)

    def restricted(self, names: Sequence[str]) -> BuiltInput:
        """Return the same input for some of its columns, where its processor can be `restricted` to them.

        Raises:
            ValueError: The tower reads the columns together.
        """
        return replace(self, processor=self.processor.restricted(names))

    def with_config(self, config: ResolvedConfig) -> BuiltInput:
        """Return the same input under a configuration in which more was chosen."""
        return replace(self, config=config)


class InputKind(Protocol):
    """What columns of some types hold. Stateless: what is fitted to the training rows is in the processor."""

    info: InputInfo

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Check what can be checked without loading anything: that pretrained weights can be found.

        Raises:
            CheckpointError: They cannot.
            ConfigError: An option that does not fit.
        """

    def usable_rows(
        self, source: RowSource, columns: Columns, config: ResolvedConfig, *, what: str
    ) -> tuple[np.ndarray | None, list[str]]:
        """Return the rows whose cells can be read, as positions or None for all, and a note where some cannot.

        Args:
            source: The frame, of a fit.
            columns: Its columns.
            config: Says how many rows may be left out.
            what: The name of the data, for messages.

        Raises:
            DataError: Cells that cannot be used, or too many of them.
        """
        del source, columns, config, what
        return None, []

    def build(self, source: RowSource, columns: Columns, config: ResolvedConfig) -> BuiltInput:
        """Build processor and tower from training rows; random weights are drawn from torch's generator.

        Raises:
            CheckpointError: Pretrained weights cannot be loaded.
            ConfigError: An option that the backbone does not take.
        """

    def continued(self, before: BuiltInput, source: RowSource, columns: Columns, config: ResolvedConfig) -> BuiltInput:
        """Return a copy of an input that an earlier fit trained, for the rows of a fit that starts from it.

        What was fitted to the earlier rows (categories, medians, a tokenizer) is kept: the weights depend on it.

        Args:
            before: The input; it stays as it is.
            source: The training rows.
            columns: Their columns.
            config: The configuration, in which the options that the tower was built by are those of that fit.

        Raises:
            NotTakenError: The tower does not fit these columns.
            ConfigError: An option that it does not take.
        """
        del before, source, columns, config
        raise NotTakenError(f"the input kind {self.info.name!r} does not say how a tower goes on with other rows")

    def rows(self, built: BuiltInput, source: RowSource) -> RowPart:
        """Turn a frame into rows; see `BuiltInput.rows`."""

    def views(
        self, built: BuiltInput, frame: pd.DataFrame, part: RowPart, rows: np.ndarray, epoch: int | None
    ) -> list[list[View]]:
        """Return what the tower reads of some rows, for a person to look at: for each row a view of each column.

        By default the names and shapes of the arrays of a row.

        Args:
            built: The input.
            frame: The frame that `part` was made from.
            part: Its rows.
            rows: Positions of the rows that are shown, int64 `(rows,)`.
            epoch: The epoch of training in which they are read; None: as in prediction.
        """
        del frame
        shapes = [part.batch(np.array([row]), epoch) for row in rows]
        texts = [", ".join(f"{name} {array.shape[1:]}" for name, array in arrays.items()) for arrays in shapes]
        return [[View(built.kind.info.name, text)] for text in texts]

    def parts(self, built: BuiltInput, column: Column, cell: object, folder: Path | None, grid: int) -> Parts:
        """Return the parts of a cell that can be hidden one by one; by default the cell is one part.

        Args:
            built: The input.
            column: The column.
            cell: Its cell, which is not missing.
            folder: Where relative paths start.
            grid: Of a picture the rows and columns of fields.
        """
        del built, column, folder, grid
        return Parts((str(cell),), (None,))

    def differentiable(self, built: BuiltInput, inputs: Mapping[str, torch.Tensor]) -> Differentiable | None:
        """Return what the tower reads of a row as numbers to differentiate by; None where it reads none.

        Args:
            built: The input.
            inputs: The tower's part of a batch of one row, on the tower's device.

        Raises:
            ConfigError: It reads some, and not in a way that parts of cells can be told apart.
        """
        del built, inputs
        return None

    def layers(self, tower: Tower) -> Mapping[str, LayerMap]:
        """Return the tower's layers: path below the tower (`""` for itself, `"backbone"`) → map."""

    def describe(self, built: BuiltInput, folder: Path) -> dict[str, Any]:
        """Return what `rebuild` needs as plain data for JSON, and write files it needs below `folder`."""

    def rebuild(
        self, described: Mapping[str, Any], folder: Path, config: ResolvedConfig, *, trust_remote_code: bool
    ) -> BuiltInput:
        """Build a saved input's modules and processor; the weights are loaded by the caller.

        It is called twice: first on the meta device, for the shapes alone (see `Problem.rebuild`).

        Raises:
            ValueError: The description names other files, a hub, or code.
            ArtifactError: It needs code that only `trust_remote_code` lets run.
        """

    def write_preprocessing(self, built: BuiltInput, folder: Path) -> None:
        """Write what the backbone's library reads beside its weights: a tokenizer, an image processor."""

    def export_form(self, built: BuiltInput, folder: Path) -> InputForm:
        """Return how this input is made where there is neither torch nor this package, and write files it needs.

        Raises:
            ExportError: It cannot be made there.
        """
        del built, folder
        raise ExportError(
            f"Columns of the kind {self.info.name!r} cannot be exported: {type(self).__name__} has no export_form. "
            "Save the predictor instead, predictor.save(path)."
        )
