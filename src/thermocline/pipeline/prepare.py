"""Checks that need no model, and the split: all that data and options alone can show is shown here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns, infer_columns
from thermocline.data.frames import check_columns, check_frame, read_frame
from thermocline.data.label_columns import label_columns
from thermocline.data.splitting import split_rows
from thermocline.errors import ConfigError, DataError, ImageReadError, ThermoclineWarning, listing
from thermocline.inputs.image.files import unreadable_rows
from thermocline.pipeline.assemble import Assembly, assemble, find_sources
from thermocline.problems.rowwise.task import Task
from thermocline.training.device import choose_device, choose_precision


@dataclass(frozen=True)
class Prepared:
    """Checked and split data.

    Attributes:
        task: What the label asks for.
        columns: The features.
        config: The configuration, device and precision chosen.
        train: Training rows.
        valid: Validation rows.
        folder: Where relative image paths of `train` start.
        valid_folder: Likewise for `valid`.
        notes: What a user should know: rows dropped, how the rows were split.
    """

    task: Task
    columns: Columns
    config: ResolvedConfig
    train: pd.DataFrame
    valid: pd.DataFrame
    folder: Path | None
    valid_folder: Path | None
    notes: tuple[str, ...]

    def assembled(self, *, seed: int, weight: str | None) -> Assembly:
        """Assemble the model."""
        return assemble(self.train, self.columns, self.task, self.config, self.folder, seed=seed, weight=weight)

    def rows(self, assembly: Any, *, seed: int) -> tuple[Rows, Rows]:
        """Turn the training and the validation frame into what the model is given."""
        train = assembly.rows(self.train, self.folder, training=True, seed=seed)
        return train, assembly.rows(self.valid, self.valid_folder)

    def learning(self) -> dict[str, Any]:
        """Return what a run is given besides: the task's own loss and metric need nothing."""
        return {}


def prepare(
    data: object,
    tuning_data: object,
    *,
    label: str | Sequence[str],
    problem_type: str | None,
    eval_metric: str | None,
    weight: str | None,
    column_types: Mapping[str, str] | None,
    config: ResolvedConfig,
    seed: int,
) -> Prepared:
    """Check the data and the options against each other, and split.

    Args:
        data: The training data, a DataFrame or a path.
        tuning_data: Validation data, or `None` to split some off.
        label: The label column or columns.
        problem_type: As given by the user, or `None`.
        eval_metric: As given by the user, or `None`.
        weight: The column of row weights, or `None`.
        column_types: Types given by the user.
        config: The configuration.
        seed: For the split.

    Raises:
        ThermoclineError: The data or an option cannot be used; the message says where and what to do.
    """
    frame, folder = read_frame(data)
    check_frame(frame)
    if weight is not None and weight in label_columns(label):
        raise ConfigError(f"sample_weight {weight!r} is the label. Name another column.")
    frame, weightless = drop_weightless(frame, weight, "train_data")
    task = Task.of(frame, label, problem_type, eval_metric)
    columns = infer_columns(frame, exclude=[*task.labels, *([weight] if weight else [])], column_types=column_types)
    _check_features(columns, frame)
    folder = image_root(config, folder)
    config = placed(config)
    find_sources(columns, config)
    _check_numbers(frame, columns)
    frame, notes = drop_unreadable(frame, columns, folder, config.data.max_unreadable_images, what="train_data")
    notes = [*weightless, *notes]
    if tuning_data is None:
        if notes:
            task = Task.of(frame, label, problem_type, eval_metric)  # a class may have gone with the rows
        fraction = config.data.valid_fraction
        train, valid, reason = split_rows(task, task.encode(frame), fraction, seed=seed)
        if fraction is None:
            config = config.choose("data.valid_fraction", round(len(valid) / len(frame), 4), reason)
        notes = [f"{len(train)} rows train, {len(valid)} validate ({reason})", *notes]
        return Prepared(task, columns, config, frame.iloc[train], frame.iloc[valid], folder, folder, tuple(notes))
    held, held_folder = read_frame(tuning_data)
    check_frame(held, what="tuning_data")
    check_columns(held, [*task.labels, *columns.used, *([weight] if weight else [])], what="tuning_data")
    held, weightless = drop_weightless(held, weight, "tuning_data")
    _check_numbers(held, columns)
    held_folder = image_root(config, held_folder)
    held, more = drop_unreadable(held, columns, held_folder, config.data.max_unreadable_images, what="tuning_data")
    task.encode(held, what="tuning_data")
    notes = [f"{len(frame)} rows train, {len(held)} validate (tuning_data)", *notes, *weightless, *more]
    return Prepared(task, columns, config, frame, held, folder, held_folder, tuple(notes))


def placed(config: ResolvedConfig) -> ResolvedConfig:
    """Choose device and precision.

    Raises:
        ConfigError: The device is not there, or does not compute in this precision.
    """
    device, why = choose_device(config.env.device)
    config = config if config.env.device == device else config.choose("env.device", device, why)
    precision, why = choose_precision(config.env.precision, device)
    return config if config.env.precision == precision else config.choose("env.precision", precision, why)


def image_root(config: ResolvedConfig, folder: Path | None) -> Path | None:
    """Return where relative image paths start: the option, else the folder of the file that was read."""
    return Path(config.data.image_folder).expanduser() if config.data.image_folder else folder


def drop_unreadable(
    frame: pd.DataFrame, columns: Columns, folder: Path | None, most: float, *, what: str
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out rows whose images cannot be read, and say so; too many of them are an error.

    Args:
        frame: The rows.
        columns: Their types.
        folder: Where relative paths start.
        most: The share of rows that may be left out.
        what: The name of the frame, for messages.

    Returns:
        The frame without them, and a note where there were some.

    Raises:
        ImageReadError: More than the share allowed.
    """
    images = [c for c in columns.columns if c.kind == "image"]
    faults = unreadable_rows(frame, images, folder, decode=True) if images else {}
    if not faults:
        return frame, []
    shown = listing([f"row {frame.index[row]}: {why}" for row, why in faults.items()], limit=3)
    count = f"{len(faults)} of {len(frame)} rows of {what} have images that cannot be read: {shown}"
    if len(faults) > most * len(frame) or len(faults) == len(frame):
        raise ImageReadError(
            f"{count}. At most {most:.0%} may (data.max_unreadable_images). Relative paths start at "
            f"{str(folder) if folder else 'the working folder ' + str(Path.cwd())}; set data.image_folder for "
            f"another, or correct the paths."
        )
    warnings.warn(f"{count}. They are left out.", ThermoclineWarning, stacklevel=5)
    kept = np.setdiff1d(np.arange(len(frame)), list(faults))
    return frame.iloc[kept], [f"{len(faults)} rows of {what} left out: images that cannot be read"]


def drop_weightless(frame: pd.DataFrame, weight: str | None, what: str) -> tuple[pd.DataFrame, list[str]]:
    """Leave out rows of weight 0, so that neither the split, the scales nor the probe's folds know of them.

    Returns:
        The frame without them, and a note where there were some.

    Raises:
        DataError: See `check_weight`.
    """
    if weight is None:
        return frame, []
    counts = check_weight(frame, weight, what) > 0
    if counts.all():
        return frame, []
    return frame[counts], [f"{int((~counts).sum())} rows of {what} left out: their weight is 0"]


def _check_features(columns: Columns, frame: pd.DataFrame) -> None:
    for column in columns.columns:
        if column.kind == "image" and column.missing == len(frame):
            raise ImageReadError(
                f"Column {column.name!r} was given as image, but all {len(frame)} values are missing. Fill it, or "
                f"leave the column out: column_types={{{column.name!r}: 'null'}}."
            )
    if columns.used:
        return
    reasons = listing([f"{c.name}: {c.reason}" for c in columns.columns], limit=6)
    raise DataError(
        f"train_data has no column to learn from, of {len(frame.columns)} columns: "
        f"{reasons or 'there is only the label'}. "
        "Add features, or give a type with column_types."
    )


def _check_numbers(frame: pd.DataFrame, columns: Columns) -> None:
    """Convert numeric columns once: a value that is no number, or infinite, shows before anything is loaded."""
    from thermocline.data.frames import numbers

    for column in columns.columns:
        if column.kind == "numeric":
            numbers(frame[column.name], column)


def check_weight(frame: pd.DataFrame, weight: str, what: str) -> np.ndarray:
    """Return the row weights float64 `(rows,)`.

    Raises:
        MissingColumnError: There is no such column.
        DataError: Weights that are no numbers, negative, missing, infinite, or all 0.
    """
    check_columns(frame, [weight], what=f"{what} (sample_weight)")
    series: pd.Series[Any] = frame[weight]
    if not pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series):
        raise DataError(
            f"The sample weights in column {weight!r} of {what} are {series.dtype}, not numbers. Convert them."
        )
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        rows = listing([f"row {frame.index[int(i)]}: {series.iloc[int(i)]}" for i in bad], limit=3)
        raise DataError(
            f"Column {weight!r} of {what} holds {len(bad)} sample weights that are negative, missing or "
            f"infinite: {rows}. "
            "Weights are finite and at least 0."
        )
    if not values.sum() > 0:
        raise DataError(f"All sample weights in column {weight!r} of {what} are 0. At least one row must count.")
    return values
