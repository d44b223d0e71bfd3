"""Says of a file that cannot be written which it is, how much space it needs, and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from thermocline.errors import OutputWriteError, ThermoclineError, first_line

_UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


@contextmanager
def told_unwritable(place: Path, needed: int, advice: str) -> Iterator[None]:
    """Turn what the system or safetensors say of a write into an error that names file, bytes and a way out.

    Args:
        place: The file or folder that is written.
        needed: Bytes that it takes.
        advice: What was kept and what to do, for the message.

    Raises:
        OutputWriteError: It cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, ThermoclineError):
            raise
        raise OutputWriteError(
            f"{str(place)!r} cannot be written ({first_line(error, limit=160)}): it needs {size_in_words(needed)}, and "
            f"{_free(place)} there. {advice}"
        ) from error


def size_of(state: Mapping[str, torch.Tensor]) -> int:
    """Return the bytes of all tensors of a state."""
    return sum(tensor.nbytes for tensor in state.values())


def size_in_words(size: int) -> str:
    """Return a number of bytes, such as `1.2 GB`."""
    unit, one = next(((unit, one) for unit, one in _UNITS if size >= one), ("bytes", 1))
    return f"{size / one:.1f} {unit}" if one > 1 else f"{size} {unit}"


def _free(place: Path) -> str:
    there = next(one for one in (place.absolute(), *place.absolute().parents) if one.exists())
    try:
        return f"{size_in_words(shutil.disk_usage(there).free)} are free"
    except OSError:
        return "the disk does not say how much is free"
