"""Where numbers go while training: a small protocol, CSV and TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from thermocline.errors import MissingDependencyError


class Logger(Protocol):
    """Takes numbers as they come."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a step; names are paths such as `lr/text/encoder.layer.3`."""

    def close(self) -> None:
        """Write what is left."""


class CSVLogger:
    """Writes `step,name,value` lines to a file.

    Args:
        path: The file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["step", "name", "value"])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line a value."""
        self._writer.writerows((step, name, repr(float(value))) for name, value in values.items())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardLogger:
    """Writes TensorBoard events.

    Args:
        folder: The folder of the event files.

    Raises:
        MissingDependencyError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingDependencyError(
                "The logger 'tensorboard' needs the package tensorboard. Install it: pip install "
                "'thermocline[tensorboard]'"
            ) from None
        self._writer: Any = SummaryWriter(log_dir=str(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one scalar a value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the writer."""
        self._writer.close()


def make_loggers(names: Sequence[str], folder: Path) -> list[Logger]:
    """Return the loggers of these names (`csv`, `tensorboard`), writing below `folder`."""
    makers: dict[str, Any] = {
        "csv": lambda: CSVLogger(folder / "metrics.csv"),
        "tensorboard": lambda: TensorBoardLogger(folder / "tensorboard"),
    }
    return [makers[name]() for name in names]
