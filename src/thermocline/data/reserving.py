"""Allocates files before they are mapped into memory."""

from __future__ import annotations

import os

_CHUNK = 1 << 20


def reserve(number: int, size: int) -> None:
    """Allocate the bytes of a file on the disk; what it holds stays.

    A mapped file with holes ends the program with a signal where the disk is full at the first write into one. After
    this a full disk is an error here.

    Args:
        number: The file's descriptor, open for reading and writing.
        size: Its bytes; a shorter one is filled up with zeros.

    Raises:
        OSError: The disk is full, or takes no file of this size.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(number, 0, size)
        return
    place = os.lseek(number, 0, os.SEEK_END)
    while place < size:
        place += os.write(number, bytes(min(_CHUNK, size - place)))
