"""Text files of cells: their text, what separates cells, and which encoding they may have."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from thermocline.errors import DataError, ThermoclineError

SEPARATORS = (",", ";", "\t", "|")
HEAD = 65_536  # bytes
LINES = re.compile(r"\r\n|\n|\r")
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
PACKED = (".gz", ".bz2", ".xz", ".zip")
COMMA_OR_WHOLE = re.compile(r"\s*([+-]?\d+(,\d+)?)?\s*")


def text_of(path: Path, limit: int = -1) -> str:
    """Return a file's text, perhaps compressed; bytes that are not UTF-8 are replaced.

    Args:
        path: The file.
        limit: The most bytes to read; all by default.
    """
    return _bytes_of(path, limit).decode("utf-8-sig", errors="replace")


@contextmanager
def unpacked(path: Path) -> Iterator[None]:
    """Say which file it was where one cannot be read, or is packed otherwise than its name says.

    Raises:
        DataError: For the errors of the system and of what unpacks.
    """
    try:
        yield
    except ThermoclineError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ValueError, LookupError) as error:
        fault = str(error).strip(". ") or type(error).__name__
        hint = " Unpack it, and pass the path of one table." if path.suffix.lower() in PACKED else ""
        raise DataError(f"The file {str(path)!r} cannot be read: {fault}.{hint}") from error


def _bytes_of(path: Path, limit: int = -1) -> bytes:
    ending = path.suffix.lower()
    if ending == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
            return member.read(limit)
    packed: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    with packed.get(ending, open)(path, "rb") as file:
        return bytes(file.read(limit))


def separator_of(path: Path) -> str:
    """Return what separates the cells of a .csv file: a comma unless its header has none, and another fits.

    A semicolon, a tab or a bar fits where the header has some, and the next line as many.
    """
    head = [line for line in LINES.split(re.sub(r'"[^"]*"', "", text_of(path, HEAD))) if line.strip()]
    if not head or "," in head[0]:
        return ","
    fitting = [mark for mark in SEPARATORS if mark in head[0] and all(mark in line for line in head[1:2])]
    fitting = [mark for mark in fitting if len(head) == 1 or head[1].count(mark) == head[0].count(mark)]
    return max(fitting, key=head[0].count, default=",")


def check_decimal_commas(frame: pd.DataFrame, path: Path, separator: str) -> None:
    """Check that no column of a file of semicolons writes its numbers with decimal commas.

    Raises:
        DataError: Naming the column: its numbers would be taken for words.
    """
    if separator != ";":
        return
    for name in frame.columns:
        distinct = frame[name].unique().tolist()
        first = next((text for text in distinct if DECIMAL_COMMA.fullmatch(text)), None)
        if first is not None and all(COMMA_OR_WHOLE.fullmatch(text) for text in distinct):
            raise DataError(
                f"{str(path)!r}: the numbers in column {name!r} are written with a decimal comma ({first.strip()!r}). "
                "Read it with `pandas.read_csv(path, sep=';', decimal=',')` and pass the DataFrame, or write points."
            )


def encoding_error(path: Path, error: UnicodeDecodeError) -> DataError:
    """Return the error of a file that is not UTF-8, with the encoding that it may have."""
    content = _bytes_of(path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _not_utf8(path, "it begins as UTF-16 does", "utf-16")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as found:
        error = found
    line = content.count(b"\n", 0, error.start) + 1
    try:
        content.decode("cp1252")
        encoding = "cp1252"
    except UnicodeDecodeError:
        encoding = "latin-1"
    begin = max(content.rfind(b"\n", 0, error.start) + 1, error.start - 20)
    shown = LINES.split(content[begin : error.start + 20].decode(encoding))[0]
    why = f"{error.reason} at byte {error.start}, in line {line}, which as {encoding} reads {shown!r}"
    return _not_utf8(path, why, encoding)


def _not_utf8(path: Path, why: str, encoding: str) -> DataError:
    return DataError(
        f"{str(path)!r} is not UTF-8 text ({why}). Save it as UTF-8, or read it with "
        f"`pandas.read_csv(path, encoding={encoding!r})`, see whether the texts are right, and pass the DataFrame."
    )
