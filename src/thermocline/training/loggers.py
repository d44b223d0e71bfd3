"""Where numbers go while training: a small protocol, CSV and TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from thermocline.errors import MissingDependencyError, OutputExistsError, ThermoclineWarning, first_line

_HEADER = ("step", "name", "value")


class Logger(Protocol):
    """Takes numbers as they come."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a step; names are paths such as `lr/text/encoder.layer.3`."""

    def flush(self) -> None:
        """Write what is left now: a checkpoint is taken."""

    def close(self) -> None:
        """Write what is left."""


class CSVLogger:
    """Writes `step,name,value` lines to a file.

    Args:
        path: The file; its folder is made.
        after: The step that a run is resumed at: lines up to it stay, later ones are written again. `None` for a new
            run and a new file.

    Raises:
        OutputExistsError: A file of this name is no log.
    """

    def __init__(self, path: Path, after: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and not _is_log(path):
            raise OutputExistsError(
                f"{str(path)!r} is where the log of this run would be written, and it is no log of a run. Move it "
                "away, choose another path, or take 'csv' out of env.loggers."
            )
        size = 0 if after is None or not path.is_file() else _size_until(path, after)
        self._file = path.open("a", newline="", encoding="utf-8")
        self._file.truncate(size)
        self._writer = csv.writer(self._file)
        if not size:
            self._writer.writerow(_HEADER)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line a value."""
        self._writer.writerows((step, name, repr(float(value))) for name, value in values.items())

    def flush(self) -> None:
        """Hand all lines to the system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardLogger:
    """Writes TensorBoard events.

    Args:
        folder: The folder of the event files.
        after: As of `CSVLogger`; TensorBoard hides what an earlier file has from later steps.

    Raises:
        MissingDependencyError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, after: int | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingDependencyError(
                "The logger 'tensorboard' needs the package tensorboard. Install it: pip install "
                "'thermocline[tensorboard]'"
            ) from None
        self._writer: Any = SummaryWriter(log_dir=str(folder), purge_step=None if after is None else after + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one scalar a value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write all events to their file."""
        self._writer.flush()

    def close(self) -> None:
        """Close the writer."""
        self._writer.close()


def make_loggers(names: Sequence[str], folder: Path, *, after: int | None = None) -> list[Logger]:
    """Return the loggers of these names (`csv`, `tensorboard`), writing below `folder`.

    Args:
        names: Which.
        folder: Where.
        after: The step that a run is resumed at, or `None` for a new one.
    """
    makers: dict[str, Any] = {
        "csv": lambda: CSVLogger(folder / "metrics.csv", after),
        "tensorboard": lambda: TensorBoardLogger(folder / "tensorboard", after),
    }
    return [_Stopping(name, makers[name](), folder) for name in names]


class _Stopping:
    """A logger that stops, with a warning, where its file cannot be written: training need not end by it."""

    def __init__(self, name: str, logger: Logger, folder: Path) -> None:
        self.name, self.logger, self.folder = name, logger, folder
        self._stopped = False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand the values of a step on."""
        self._carried_out(lambda: self.logger.log(step, values))

    def flush(self) -> None:
        """Hand this on."""
        self._carried_out(self.logger.flush)

    def close(self) -> None:
        """Hand this on; the file is closed in any case."""
        self._carried_out(self.logger.close)

    def _carried_out(self, act: Callable[[], None]) -> None:
        if self._stopped:
            return
        try:
            act()
        except OSError as error:
            self._stopped = True
            with contextlib.suppress(OSError):
                self.logger.close()
            warnings.warn(
                f"The logger {self.name!r} cannot write to {str(self.folder)!r} ({first_line(error)}). It stops here; "
                "training goes on.",
                ThermoclineWarning,
                stacklevel=5,
            )


def _is_log(path: Path) -> bool:
    """Whether a file begins as a log does, if only with a part of the first line: a run may have been killed then."""
    with path.open("rb") as file:
        first = file.readline(1000)
    return (",".join(_HEADER) + "\r\n").encode().startswith(first)


def _size_until(path: Path, step: int) -> int:
    """Count the bytes of the header and the whole lines up to a step; a run that was killed may leave half a line."""
    size = 0
    for line in path.read_bytes().splitlines(keepends=True):
        number = line.partition(b",")[0]
        if not line.endswith(b"\n") or (number.isdigit() and int(number) > step):
            break
        size += len(line)
    return size
