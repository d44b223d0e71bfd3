"""The loggers of a fit while it lasts: begun, kept in checkpoints, closed; one that fails does not end the fit."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from thermocline.errors import LoggerError, ThermoclineError, ThermoclineWarning, first_line
from thermocline.training.loggers import CSV, Logger, RunInfo, TensorBoard
from thermocline.training.remembered import kind_of, plain_state
from thermocline.training.trackers import MLflow, WandB

MAKERS: Mapping[str, Callable[[], Logger]] = {"csv": CSV, "tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
"""Names in `env.loggers`."""


def make_loggers(names: Sequence[str]) -> list[Logger]:
    """Return the loggers of these names, with their defaults.

    Raises:
        MissingDependencyError: A package is not installed.
    """
    return [MAKERS[name]() for name in dict.fromkeys(names)]


class OpenLogger:
    """A logger of a fit that lasts. What goes wrong in it is a warning, once: training need not end by it.

    Args:
        logger: The logger, which has begun.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger, self._stopped = logger, False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand the values of a step on."""
        self._carried_out(lambda: self.logger.log(step, values))

    def flush(self) -> None:
        """Hand this on."""
        self._carried_out(self.logger.flush)

    def close(self, *, failed: bool = False) -> None:
        """Hand this on."""
        self._carried_out(lambda: self.logger.close(failed=failed))

    def content(self) -> list[Any]:
        """Return what a checkpoint keeps of it: its class, and what it remembers."""
        return [kind_of(self.logger), plain_state(self.logger, "logger")]

    def _carried_out(self, act: Callable[[], None]) -> None:
        if self._stopped:
            return
        try:
            act()
        except Exception as error:  # of a disk, a network, a service or of code of the caller's
            self._stopped = True
            with contextlib.suppress(Exception):
                self.logger.close(failed=True)
            warnings.warn(
                f"The logger {kind_of(self.logger)} failed ({_told(error)}). It stops here; training goes on.",
                ThermoclineWarning,
                stacklevel=5,
            )


@contextmanager
def opened(loggers: Sequence[Logger], run: RunInfo, checkpoint: Mapping[str, Any] | None) -> Iterator[list[OpenLogger]]:
    """Begin loggers, and close them at the end.

    Args:
        loggers: In order.
        run: What they are told.
        checkpoint: The content of the one that the fit is resumed from; None: it is new.

    Raises:
        LoggerError: One cannot begin.
    """
    states = [(str(kind), dict(state)) for kind, state in (checkpoint or {}).get("loggers", [])]
    begun: list[OpenLogger] = []
    failed = True
    try:
        for logger in loggers:
            place = next((place for place, (kind, _) in enumerate(states) if kind == kind_of(logger)), None)
            _begin(logger, run, None if place is None else states.pop(place)[1])
            begun.append(OpenLogger(logger))
        yield begun
        failed = False
    finally:
        for one in begun:
            one.close(failed=failed)


def _begin(logger: Logger, run: RunInfo, state: dict[str, Any] | None) -> None:
    try:
        if state is not None:
            logger.load_state_dict(state)
        logger.begin(run)
    except ThermoclineError:
        raise
    except Exception as error:
        raise LoggerError(
            f"The logger {kind_of(logger)} cannot begin ({_told(error)}). Nothing was trained. Put right what it says, "
            "or leave the logger out (env.loggers, fit(loggers=…))."
        ) from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error, limit=200)}"
