"""Paths of folders as a caller gives them: checked before anything is read or trained."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thermocline.errors import ConfigError, ThermoclineError

LONGEST_NAME = 255  # bytes, on every file system in use
LONGEST_ADDITION = len(".-checkpoints")  # the longest that is added to the name of a folder


def folder_argument(given: object) -> Path:
    """Return the path that an argument means, `~` expanded.

    Args:
        given: Text, or a `pathlib.Path`.

    Raises:
        ConfigError: It is neither, or no path at all.
    """
    try:
        path = os.fspath(given)  # type: ignore[call-overload]
    except TypeError:
        path = given
    if not isinstance(path, str):
        raise ConfigError(f"path is the name of a folder, as text or as a pathlib.Path, not {_short(given)}.")
    if "\0" in path or not path.strip():
        raise ConfigError(f"path={_short(path)} names no folder. Give one such as path='my_model'.")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"path={_short(path)}: there is no such user. Write the path without ~.") from None


def check_output(path: Path) -> None:
    """Check that a folder may be made, or replaced, at a path.

    Raises:
        ConfigError: The path means the working folder or one above it, is too long, leads through a file, or may not be
            written to.
    """
    for part in path.parts:
        most = LONGEST_NAME - LONGEST_ADDITION if part == path.name else LONGEST_NAME
        if (size := len(os.fsencode(part))) > most:
            raise ConfigError(
                f"path={_short(str(path))} has a name of {size} bytes; this name may have {most}. Choose a shorter one."
            )
    with writable(path):
        real = Path(os.path.realpath(path))
        if path.name in ("", "..") or Path.cwd().is_relative_to(real):
            raise ConfigError(
                f"path={str(path)!r} means {str(real)!r}, a folder that is in use or has no name of its own here; fit "
                "and save make and replace the whole folder. Name one inside it, such as path='my_model'."
            )
        above = next((parent for parent in path.absolute().parents if parent.exists()), None)
        if above is not None and not above.is_dir():
            raise ConfigError(f"{str(path)!r} cannot be a folder: {str(above)!r} is a file. Choose another path.")
        for name in (real.name, f"{path.name}-checkpoints", f"{path.name}-logs"):
            beside = real if name == real.name else path.with_name(name)
            if beside.is_dir() and not os.access(beside, os.W_OK | os.X_OK):
                raise PermissionError(f"Permission denied: {str(beside)!r}")


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Say which path it was where the system lets nothing be written.

    Raises:
        ConfigError: For every `OSError` of the system.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, ThermoclineError):
            raise
        raise ConfigError(
            f"path={_short(str(path))} cannot be written to ({error.strerror or error}). Choose another path, or have "
            "this one made writable."
        ) from error


def _short(value: object) -> str:
    shown = repr(value)
    return f"{shown if len(shown) <= 120 else shown[:100] + '…'} ({type(value).__name__})"
