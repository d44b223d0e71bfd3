"""A lock on an output folder: one fit or save at a time writes to it, and to the checkpoints and logs next to it."""

from __future__ import annotations

import errno
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from thermocline.errors import OutputInUseError, ThermoclineWarning

_ATTEMPTS = 100
_LOCKED_BYTE = 1 << 30  # on Windows a locked byte cannot be read, so it lies behind what is written
_OWNER_BYTES = 1000
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_held: set[int] = set()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of an output folder, with the folders above it made.

    The lock is a file next to the folder, which the system locks: it is free again when the process ends, however it
    ends. The file, and the folders above that nothing was written to, are removed at the end.

    Args:
        path: The folder; two names of one folder have one lock.

    Raises:
        OutputInUseError: Another fit or save holds it, in this process or another.
        OSError: The place cannot be written to.
    """
    place = lock_file(path)
    made = _make_folders(place.parent)
    try:
        handle = _take(place, path)
        try:
            yield
        finally:
            _give_back(handle, place)
    finally:
        for folder in made:
            with suppress(OSError):  # something was written there
                folder.rmdir()


def lock_file(path: Path) -> Path:
    """Return the file that is locked while a fit or a save writes to a folder."""
    real = Path(os.path.realpath(path))
    return real.with_name(f".{real.name}.thermocline")


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; return those that were missing, the innermost first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _take(place: Path, path: Path) -> int:
    """Open and lock the file.

    A file that its holder removed after it was opened here locks nothing; it is opened anew then.
    """
    for attempt in range(_ATTEMPTS):
        try:
            handle = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:  # a fit that failed has just removed the folder, which it had made
            if attempt == _ATTEMPTS - 1:  # nothing can be made there
                raise
            place.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            if not _lock(handle):
                owner = os.read(handle, _OWNER_BYTES).decode("utf-8", "replace").strip() or "another process"
                raise OutputInUseError(
                    f"{str(path)!r} is being written to by {owner}. Wait until that fit or save has ended, or stop it, "
                    "or choose another path. Two fits on one path would destroy each other's checkpoints."
                )
            if _is_at(handle, place):
                os.ftruncate(handle, 0)
                now = datetime.now().astimezone().isoformat(timespec="seconds")
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}, since {now}\n".encode())
                _held.add(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise OutputInUseError(f"{str(path)!r} is being written to by several processes at once. Try again.")


def _give_back(handle: int, place: Path) -> None:
    if handle not in _held:  # a forked process, which holds nothing
        return
    try:
        if os.name != "nt":
            place.unlink(missing_ok=True)
    finally:
        _held.discard(handle)
        os.close(handle)
    if os.name == "nt":  # which removes no file that is open
        with suppress(OSError):
            place.unlink(missing_ok=True)


def _is_at(handle: int, place: Path) -> bool:
    """Whether the file that is open is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            warnings.warn(
                "This file system locks no files, so nothing notices a second fit on the same path: run only one.",
                ThermoclineWarning,
                stacklevel=2,
            )
        return True

    def _close_in_child() -> None:
        """Close what a forked process has of the locks: workers that outlive a killed fit must not hold its lock."""
        for handle in _held:
            os.close(handle)
        _held.clear()

    os.register_at_fork(after_in_child=_close_in_child)
