"""A model as a `torch.export` program of arrays whose rows and lengths may change, checked against the model itself."""

from __future__ import annotations

import builtins
import importlib
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.contracts.exporting import ExportForm
from thermocline.errors import ExportError, first_line

TRACED = 2  # rows of the example
CHECKED = (1, 3)  # rows of examples that outputs are compared on
TOLERANCE = 1e-4
OTHERS = 0.02  # of the places of a row: two scores that are equal but for rounding choose another one
NOTHING = "Nothing was written; save the predictor instead, predictor.save(path)."
OPERATOR = re.compile(r"OpOverload\(op='([^']+)'|torch\.ops\.([\w.]+)")
_PATCHING = threading.Lock()

Arrays = Mapping[str, np.ndarray]


def arrays_of(form: ExportForm, rows: int) -> dict[str, np.ndarray]:
    """Return made-up arrays of all inputs by `"<input>/<array>"`."""
    return {f"{name}/{key}": array for name, one in form.inputs.items() for key, array in one.example(rows).items()}


def traced(form: ExportForm) -> torch.export.ExportedProgram:
    """Return a model as a program.

    Raises:
        ExportError: `torch.export` cannot trace it, or only for one number of rows.
    """
    given = {name: torch.from_numpy(array) for name, array in arrays_of(form, TRACED).items()}
    dynamic = {
        f"{name}/{key}": {at: torch.export.Dim.DYNAMIC for at, axis in enumerate(axes) if axis is not None}
        for name, one in form.inputs.items()
        for key, axes in one.axes.items()
    }
    try:
        with torch.no_grad(), quiet(), _symbolic_len(form.model):
            program = torch.export.export(form.model, (given,), dynamic_shapes={"inputs": dynamic})
            return _decomposed(program)
    except Exception as error:
        raise ExportError(
            f"The model cannot be exported: torch.export does not trace it ({reason_of(error)}). Choose another "
            "backbone, or save the predictor instead, predictor.save(path)."
        ) from error


def _decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return a program without an operator that other runtimes lack (D-FINE's check that states are finite)."""
    lacking = torch.ops.aten._is_all_true.default
    if not any(node.target is lacking for node in program.graph.nodes):
        return program
    table = torch.export.default_decompositions()
    table[lacking] = torch.all
    made: torch.export.ExportedProgram = program.run_decompositions(table)
    return made


def check(form: ExportForm, run: Callable[[Arrays], Arrays], what: str) -> None:
    """Compare what an exported model gives with what the model gives, on made-up rows.

    Args:
        form: The model.
        run: The exported model.
        what: What it is called in messages.

    Raises:
        ExportError: They differ by more than 1e-4.
    """
    for rows in CHECKED:
        arrays = arrays_of(form, rows)
        with torch.no_grad():
            wanted = form.model({name: torch.from_numpy(array) for name, array in arrays.items()})
        own = {name: one.numpy() for name, one in wanted.items()}
        try:
            with quiet():
                found = run(arrays)
        except Exception as error:
            raise ExportError(f"{what} does not run on {rows} rows ({reason_of(error)}).") from error
        if form.unordered:
            _check_unordered([np.concatenate([one[name] for name in form.unordered], -1) for one in (own, found)], what)
            own = {}
        for name, array in {**own, **form.expected(found)}.items():
            off, scale = float(np.max(np.abs(found[name] - array), initial=0.0)), _scale(array)
            if not off <= TOLERANCE * scale:
                raise ExportError(
                    f"{what} gives other outputs than the model: {name} differs by {off:.2g} on {rows} made-up rows, "
                    f"where {TOLERANCE * scale:.2g} is allowed. {NOTHING}"
                )


def _check_unordered(pair: list[np.ndarray], what: str) -> None:
    """Compare outputs `(rows, places, width)` whose places may come in another order; a few may be others."""
    for own, found in zip(*pair, strict=True):
        off = np.array([np.abs(found - place).max(axis=1).min() for place in own])
        others = float((off > TOLERANCE * _scale(own)).mean())
        if others > OTHERS:
            raise ExportError(
                f"{what} gives other outputs than the model in {100 * others:.0f} % of the places of a made-up row, by "
                f"up to {off.max():.2g}. Where a model chooses among equal scores, as one that was hardly trained "
                f"does, train it longer. {NOTHING}"
            )


def _scale(array: np.ndarray) -> float:
    return max(1.0, float(np.max(np.abs(array), initial=0.0)))


def reason_of(error: BaseException) -> str:
    """Return why a library failed, in one line, with the operator where the message names one."""
    while error.__cause__ is not None and not OPERATOR.search(str(error)):
        error = error.__cause__
    found = OPERATOR.search(str(error))
    named = f"operator {found.group(1) or found.group(2)}; " if found else ""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", first_line(error))
    return f"{named}{type(error).__name__}: {plain}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and logs of the exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root")]
    levels = [one.level for one in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for one in loggers:
                one.setLevel(logging.ERROR)
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


@contextmanager
def _symbolic_len(model: nn.Module) -> Iterator[None]:
    """Let `len(tensor)` in the model's own source be a length that may change, as `tensor.shape[0]` is.

    Python makes a plain number of it, which fixes the number of rows (RT-DETR's `len(source_flatten)`).
    """

    def length(one: Any) -> Any:
        return one.shape[0] if isinstance(one, torch.Tensor) else builtins.len(one)

    names = {type(module).__module__ for module in model.modules()}
    found = [sys.modules.get(name) or importlib.import_module(name) for name in names if name.split(".")[0] != "torch"]
    with _PATCHING:
        own = [one for one in found if "len" not in vars(one)]
        for one in own:
            vars(one)["len"] = length
        try:
            yield
        finally:
            for one in own:
                del vars(one)["len"]
