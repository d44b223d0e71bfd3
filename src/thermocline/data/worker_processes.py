"""Worker processes that cannot be started or that ended: said in one error, with what to do."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from thermocline.errors import ConfigError, counted, first_line

if TYPE_CHECKING:
    from thermocline.data.batches import Rows

GUARD = "Put what the script does under `if __name__ == '__main__':`"


MOST_CHOSEN = 8
"""Worker processes that are started where no number is given."""


def most() -> int:
    """Return how many worker processes at most this machine is given."""
    return max(16, 4 * (os.cpu_count() or 1))


def chosen_number(given: int | None, rows: Rows, device: str) -> int:
    """Return how many worker processes make batches.

    Args:
        given: What was asked for; None: as many as there are CPUs but one, up to `MOST_CHOSEN`, where a GPU would wait
            for images to be decoded and processes start without running the script again; else none.
        rows: The rows of the batches.
        device: Where the batches go, `cpu`, `cuda` or `mps`.
    """
    if given is not None:
        return given
    if device != "cuda" or _method() != "fork" or not any(part.decodes for part in rows.parts.values()):
        return 0
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_CHOSEN, here - 1)


def check_number(workers: int) -> None:
    """Check that a number of worker processes is one that this machine stands.

    Raises:
        ConfigError: It is not.
    """
    if workers > most():
        raise ConfigError(
            f"env.num_workers={workers:,} is more than this machine stands: it has "
            f"{counted(os.cpu_count() or 1, 'CPU')}, so at most {most()} processes may load batches. Usual is a number "
            "up to that of the CPUs."
        )


def check_main_guard() -> None:
    """Check that this is no worker process which runs the caller's script again while it starts.

    Raises:
        ConfigError: It is.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # what multiprocessing itself looks at
        raise ConfigError(
            f"A worker process runs this script again, as the start method {_method()!r} has it, and came upon the "
            f"call of Thermocline once more. {GUARD}, or set env.num_workers=0."
        )


@contextmanager
def starting(workers: int) -> Iterator[None]:
    """Raise a named error where worker processes cannot be started.

    Raises:
        ConfigError: They cannot.
    """
    try:
        yield
    # a daemon may have no children; rows cannot be passed on; a child ended at once; too many processes or files
    except (AssertionError, AttributeError, TypeError, pickle.PicklingError, OSError, EOFError, RuntimeError) as error:
        raise _refusal(workers, "could not be started", error) from error


@contextmanager
def running(workers: int) -> Iterator[None]:
    """Raise a named error where worker processes end before their work does.

    Raises:
        ConfigError: They do.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(("DataLoader worker (pid", "unable to")):  # any other was raised in one of them
            raise
        raise _refusal(workers, "ended", error) from error


def _refusal(workers: int, what: str, error: BaseException) -> ConfigError:
    if _method() == "fork":
        advice = "Memory, shared memory (/dev/shm) or the number of processes may be at its limit: lower it"
    else:
        advice = f"The start method {_method()!r} runs the script again in each of them. {GUARD}"
    return ConfigError(
        f"The processes that load batches, env.num_workers={workers}, {what} ({type(error).__name__}: "
        f"{first_line(error)}). {advice}, or set env.num_workers=0: the result is the same."
    )


def _method() -> str:
    return multiprocessing.get_start_method()
