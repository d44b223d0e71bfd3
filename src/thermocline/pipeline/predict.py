"""Using a fitted model: outputs, scores, features. No trainer is built and no file is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from thermocline import metrics as scoring
from thermocline.config import ResolvedConfig
from thermocline.contracts.inputs import RowSource
from thermocline.data.batches import Rows
from thermocline.data.column_rules import missing_mask
from thermocline.data.frames import check_columns, check_frame, check_names, read_frame
from thermocline.errors import ConfigError, DataError
from thermocline.inputs.building import input_rows
from thermocline.pipeline.assemble import Assembly
from thermocline.pipeline.prepare import check_weight, image_root
from thermocline.report.console import Console
from thermocline.training import inference
from thermocline.training.device import choose_device

if TYPE_CHECKING:
    from pathlib import Path


def predict(assembly: Assembly, data: object, *, verbosity: int = 0) -> pd.Series[Any] | pd.DataFrame:
    """Return predictions on the frame's index, in the label's dtype.

    Raises:
        DataError: A column is missing, or a cell cannot be read.
    """
    return assembly.task.decode(*outputs(assembly, data, verbosity=verbosity))


def proba(assembly: Assembly, data: object, *, verbosity: int = 0) -> pd.DataFrame:
    """Return probabilities on the frame's index, a column per class or label.

    Raises:
        ConfigError: The target is a number.
        DataError: As `predict`.
    """
    task = assembly.task
    if task.problem_type == "regression":
        raise ConfigError(f"{task.labels[0]!r} is a regression target: there are no probabilities. Use predict.")
    return task.proba(*outputs(assembly, data, verbosity=verbosity))


def outputs(assembly: Assembly, data: object, *, verbosity: int = 0) -> tuple[np.ndarray, pd.Index[Any]]:
    """Return raw outputs float32 `(rows, width)` and the frame's index.

    Raises:
        DataError: As `predict`.
    """
    frame, folder = _read(assembly, data, "data")
    return _run(assembly, frame, folder, None, Console(verbosity)), frame.index


def embed(assembly: Assembly, data: object, *, verbosity: int = 0) -> np.ndarray:
    """Return features float32 `(rows, width)`."""
    frame, folder = _read(assembly, data, "data")
    return _run(assembly, frame, folder, assembly.model.features, Console(verbosity))


def evaluate(
    assembly: Assembly, data: object, names: str | Iterable[str] | None, *, verbosity: int = 0
) -> dict[str, float]:
    """Score a labelled frame.

    Raises:
        ConfigError: A metric that does not exist or does not fit; before anything is computed.
        DataError: As `outputs`; labels that are missing or unseen.
    """
    task = assembly.task
    if names is not None and not isinstance(names, str | Iterable):
        raise ConfigError(f"metrics is a name or a list of names, not {names!r}.")
    asked = [names] if isinstance(names, str) else list(names) if names is not None else None
    if asked is None:
        asked = list(dict.fromkeys([task.eval_metric, *scoring.USUAL_METRICS[task.problem_type]]))
    for name in asked:
        scoring.get_metric(name, task.problem_type)
    frame, folder = _read(assembly, data, "data")
    if not len(frame):
        raise DataError("data is empty: there is nothing to score.")
    check_columns(frame, task.labels, what="data (needed to score)")
    target = task.encode(frame)
    weights = None
    if assembly.weight is not None and assembly.weight in frame.columns:
        weights = check_weight(frame, assembly.weight, "data")
    return scoring.score(task, asked, target, _run(assembly, frame, folder, None, Console(verbosity)), weights)


def _read(assembly: Assembly, data: object, what: str) -> tuple[pd.DataFrame, Path | None]:
    frame, folder = read_frame(data)
    used = assembly.columns.used
    check_names(frame, what=what)
    check_columns(frame, used, what=what)
    if len(frame):
        check_frame(frame[used], what=what)  # what is in other columns does not matter here
    return frame, image_root(assembly.config, folder)


def _run(
    assembly: Assembly,
    frame: pd.DataFrame,
    folder: Path | None,
    what: Callable[[Any], torch.Tensor] | None,
    console: Console,
) -> np.ndarray:
    model = assembly.model
    if not len(frame):
        width = assembly.task.width if what is None else sum(model.widths.values())
        return np.zeros((0, width), dtype=np.float32)
    console.missing({name: int(missing_mask(frame[name]).sum()) for name in assembly.columns.used}, len(frame))
    device = next(model.parameters()).device
    size = assembly.config.env.eval_batch_size or 64
    rows = Rows(input_rows(assembly.inputs.values(), RowSource(frame, folder)))
    values, _ = inference.run(
        model,
        rows,
        batch_size=size,
        device=device,
        what=what,
        autocast=precision_of(assembly.config, device),
        num_workers=assembly.config.env.num_workers if len(frame) > 8 * size else 0,
        progress=lambda batches, total: console.progress(batches, total, "predicting") if total > 50 else batches,
    )
    return values


def to_best_device(model: torch.nn.Module) -> None:
    """Put a loaded model where it runs fastest here."""
    model.to(choose_device("auto")[0])


def precision_of(config: ResolvedConfig, device: torch.device) -> Callable[[], Any]:
    """Return the precision of training, where the device is still of the kind it was chosen for."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = kinds.get(config.env.precision)
    same = device.type == config.env.device
    return lambda: torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None and same)
