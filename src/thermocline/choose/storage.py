"""Where a study is kept: in memory, in a file, or in a database; what cannot be reached is an error that says so."""

from __future__ import annotations

import json
import logging
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from thermocline.choose.settings import SearchSettings
from thermocline.errors import MissingDependencyError, StorageError, ThermoclineError, first_line

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

WAITS = (0.1, 0.3, 1.0, 3.0)
"""Seconds between tries to open a database whose tables another process makes."""
_MADE_BY_ANOTHER = re.compile("already exists|UNIQUE constraint|[Dd]uplicate|database is locked")

ADVICE = "search={'storage': …} takes the path of a file in a folder that is there, or the URL of a database."


def check_installed() -> None:
    """Check that optuna is installed.

    Raises:
        MissingDependencyError: It is not.
    """
    try:
        with quiet():
            import optuna  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "A search needs the package optuna. Install it: pip install 'thermocline[search]'"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Let optuna neither print nor warn inside: what a user should know is said by the search."""
    log = logging.getLogger("optuna")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = log.level
        try:
            log.setLevel(logging.CRITICAL)
            yield
        finally:
            log.setLevel(level)


@contextmanager
def reaching(settings: SearchSettings) -> Iterator[None]:
    """Work on a storage inside; whatever goes wrong with it is one error.

    Args:
        settings: Where it is.

    Raises:
        StorageError: It cannot be reached or used.
        MissingDependencyError: The driver of its database is not installed.
    """
    try:
        with quiet():
            yield
    except ThermoclineError:
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"The storage {settings.where} needs a driver that is not installed ({first_line(error)}). Install it, or "
            "give the path of a file."
        ) from error
    except Exception as error:  # of optuna, SQLAlchemy, a driver or the system: all mean the same here
        told = first_line(error).replace(str(settings.storage), settings.where)
        raise StorageError(
            f"The storage of the search, {settings.where}, cannot be reached or used "
            f"({type(error).__name__}: {told}). {ADVICE}"
        ) from error


def open_storage(settings: SearchSettings) -> BaseStorage:
    """Return the storage of a study, made where there is none.

    Raises:
        StorageError: It cannot be reached or used.
        MissingDependencyError: The driver of its database is not installed.
    """
    from optuna.storages import InMemoryStorage, JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    with reaching(settings):
        if settings.storage is None:
            return InMemoryStorage()
        if isinstance(settings.storage, str):
            return _database(settings.storage)
        _check_file(settings.storage)
        file = str(settings.storage)
        return JournalStorage(JournalFileBackend(file, JournalFileOpenLock(file)))


def _database(url: str) -> BaseStorage:
    """Return the storage in a database; tables that another process makes at this moment are waited for."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    for wait in WAITS:
        try:
            return RDBStorage(url)
        except SQLAlchemyError as error:
            if not _MADE_BY_ANOTHER.search(str(error)):
                raise
            time.sleep(wait)
    return RDBStorage(url)


def _check_file(path: Path) -> None:
    """Check that a file is there and of a study, or can be made.

    Raises:
        StorageError: It is something else, or its folder is not there.
    """
    if not path.parent.is_dir():
        raise StorageError(
            f"The storage {str(path)!r} cannot be made: there is no folder {str(path.parent)!r}. {ADVICE}"
        )
    if path.is_dir():
        raise StorageError(f"The storage {str(path)!r} is a folder. {ADVICE}")
    if not path.exists():
        return
    with path.open("rb") as file:
        first = file.readline(100_000)
    try:
        whole = not first or "op_code" in json.loads(first)
    except (ValueError, TypeError):
        whole = False
    if not whole:
        raise StorageError(f"The storage {str(path)!r} is a file, but not one of a search. Choose another path.")
