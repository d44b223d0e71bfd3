"""A `torch.export` program in a file, with the inputs and outputs of the ONNX model."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from thermocline.contracts.exporting import ExportForm
from thermocline.errors import ExportError
from thermocline.export.tracing import Arrays, check, quiet, reason_of, traced

PROGRAM = "model.pt2"


def write_torch(form: ExportForm, folder: Path) -> None:
    """Write a model as a program, and check that its outputs are those of the model.

    Raises:
        ExportError: It cannot be traced or written, or outputs differ.
    """
    program, file = traced(form), folder / PROGRAM
    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()):
            torch.export.save(program, str(file))
    except Exception as error:
        raise ExportError(f"torch cannot write the program ({reason_of(error)}).") from error
    check(form, LoadedProgram(file), "The torch.export program")


class LoadedProgram:
    """A program that maps arrays to outputs by name.

    Args:
        file: The program.
    """

    def __init__(self, file: Path) -> None:
        with quiet():
            self._module = torch.export.load(str(file)).module()

    def __call__(self, arrays: Arrays) -> Mapping[str, np.ndarray]:
        """Return the outputs for arrays by name."""
        with torch.no_grad():
            found = self._module({name: torch.from_numpy(np.asarray(one)) for name, one in arrays.items()})
        return {name: one.numpy() for name, one in found.items()}
