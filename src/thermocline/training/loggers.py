"""Where numbers go while training: the protocol of loggers, CSV and TensorBoard."""

from __future__ import annotations

import csv
import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from thermocline.errors import MissingDependencyError, OutputExistsError

_HEADER = ("step", "name", "value")


@dataclass(frozen=True, repr=False)
class RunInfo:
    """What a logger is told of the fit that begins.

    Attributes:
        options: Every option by its dotted name, such as `optim.lr`.
        folder: The folder of log files beside the predictor; None where it has no path. It may not be there yet.
        name: The name of the predictor's folder; empty where it has no path, and in a search.
        trial: The name of the trial in a search; empty otherwise.
        after: The step that the fit goes on behind, where it is resumed: values up to it were logged before, later
            ones come again. None for a new fit.
        verbosity: 0 where nothing is to be said.

    Example:
        >>> class First(Logger):
        ...     def begin(self, run):
        ...         print(run.options["env.batch_size"], run.after)
        ...     def log(self, step, values):
        ...         pass
        >>> small = train[["price", "verdict"]]
        >>> _ = Predictor("verdict", verbosity=0).fit(small, hyperparameters=tiny, loggers=[First()])
        16 None
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    name: str = ""
    trial: str = ""
    after: int | None = None
    verbosity: int = 1

    def __repr__(self) -> str:
        said = [f"run {self.name!r}"] * bool(self.name) + [f"trial {self.trial!r}"] * bool(self.trial)
        said += [] if self.folder is None else [f"log files in {str(self.folder)!r}"]
        said += [] if self.after is None else [f"resumed after step {self.after}"]
        return f"<RunInfo: {', '.join([*said, f'{len(self.options)} options'])}>"


class Logger(Protocol):
    """Takes numbers while a fit trains: `fit(loggers=[…])`.

    Derive from it and write `log`; the other methods do nothing then. An object that has all of them needs not derive.

    The order of a fit: `load_state_dict`, if it is resumed and the checkpoint has a state; `begin`; `log` for every set
    of numbers and `flush` before every checkpoint; `close`. One object may serve several fits, one after the other, as
    the trials of a search are.

    An error in `begin` ends the fit before it trains. An error later is a warning, once: the logger is closed, and
    training goes on without it.

    Example:
        >>> class Losses(Logger):
        ...     seen = []
        ...     def log(self, step, values):
        ...         if "loss" in values:
        ...             self.seen.append(step)
        >>> small = train[["price", "verdict"]]
        >>> _ = Predictor("verdict", verbosity=0).fit(small, hyperparameters=tiny, loggers=[Losses()])
        >>> Losses.seen
        [1, 2, 3]
    """

    def begin(self, run: RunInfo) -> None:
        """Called before the first number of a fit."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a step (from 1; 0 before the first): finite numbers under names such as `lr/text/stem`.

        A step may come several times, with other names. Names: `loss` of the step, `lr/<layer>` (0 where it is frozen),
        `frozen/layers` (how many) and `frozen/share` (of the parameters, from 0 to 1) at some hundred steps of a fit
        and where phases begin; `train_loss`, `lr` and `val_<metric>` at each validation; what callbacks log.
        """

    def flush(self) -> None:
        """Write what is left now: a checkpoint is taken."""

    def close(self, *, failed: bool = False) -> None:
        """Write what is left; the fit has ended.

        Args:
            failed: Whether by an error.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs to go on in the same log, as JSON takes it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` returned when the checkpoint was written."""


class CSV(Logger):
    """Writes `step,name,value` lines to a file, nothing rounded.

    A resumed fit writes lines behind the step of its checkpoint again; a new fit begins the file anew.

    Args:
        file: The file; its folder is made. By default `metrics.csv` in the folder `<path>-logs` beside the predictor.
            In a search the name of the trial is added.

    Raises:
        OutputExistsError: From `fit`: a file of this name is no log.

    Example:
        >>> predictor = Predictor("verdict", verbosity=0)
        >>> _ = predictor.fit(train[["price", "verdict"]], hyperparameters=tiny, loggers=[CSV("runs/first.csv")])
        >>> pd.read_csv("runs/first.csv").columns.tolist()
        ['step', 'name', 'value']
    """

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        self.file = None if file is None else Path(file).expanduser()
        self._open: Any = None

    def __repr__(self) -> str:
        return f"CSV({'' if self.file is None else repr(str(self.file))})"

    @property
    def needs_path(self) -> bool:
        """Whether the predictor has to have a path."""
        return self.file is None

    def begin(self, run: RunInfo) -> None:
        """Open the file."""
        path = _own(self.file, run) if self.file else (run.folder or Path()) / "metrics.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and not _is_log(path):
            raise OutputExistsError(
                f"{str(path)!r} is where the log of this run would be written, and it is no log of a run. Move it "
                "away, choose another path, or leave the logger CSV (env.loggers=csv) out."
            )
        size = 0 if run.after is None or not path.is_file() else _size_until(path, run.after)
        self._open = path.open("a", newline="", encoding="utf-8")
        self._open.truncate(size)
        self._writer = csv.writer(self._open)
        if not size:
            self._writer.writerow(_HEADER)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line a value."""
        self._writer.writerows((step, name, repr(float(value))) for name, value in values.items())

    def flush(self) -> None:
        """Hand all lines to the system."""
        self._open.flush()

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002
        """Close the file."""
        if self._open is not None:
            self._open.close()


class TensorBoard(Logger):
    """Writes TensorBoard events (extra `tensorboard`); `tensorboard --logdir <folder>` shows them.

    In a resumed fit TensorBoard hides what an earlier file has behind the step of the checkpoint.

    Args:
        folder: The folder of the event files. By default `tensorboard` in the folder `<path>-logs` beside the
            predictor. In a search the name of the trial is a folder below it.

    Raises:
        MissingDependencyError: tensorboard is not installed.

    Example:
        >>> predictor = Predictor("verdict", verbosity=0)
        >>> _ = predictor.fit(train[["price", "verdict"]], hyperparameters=tiny, loggers=[TensorBoard("runs/first")])
        >>> from pathlib import Path
        >>> len(list(Path("runs/first").glob("events*")))
        1
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        check_installed("tensorboard", "TensorBoard", "tensorboard")
        self.folder = None if folder is None else Path(folder).expanduser()
        self._writer: Any = None

    def __repr__(self) -> str:
        return f"TensorBoard({'' if self.folder is None else repr(str(self.folder))})"

    @property
    def needs_path(self) -> bool:
        """Whether the predictor has to have a path."""
        return self.folder is None

    def begin(self, run: RunInfo) -> None:
        """Begin a file."""
        from torch.utils.tensorboard import SummaryWriter

        folder = self.folder / run.trial if self.folder else (run.folder or Path()) / "tensorboard"
        self._writer = SummaryWriter(log_dir=str(folder), purge_step=None if run.after is None else run.after + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one scalar a value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write all events to their file."""
        self._writer.flush()

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002
        """Close the writer."""
        if self._writer is not None:
            self._writer.close()


def check_installed(package: str, logger: str, extra: str) -> None:
    """Check that a package can be imported, without importing it.

    Raises:
        MissingDependencyError: It cannot.
    """
    try:
        found = find_spec(package) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise MissingDependencyError(
            f"The logger {logger} needs the package {package}. Install it: pip install 'thermocline[{extra}]'"
        )


def _own(file: Path, run: RunInfo) -> Path:
    return file.with_stem(f"{file.stem}-{run.trial}") if run.trial else file


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
