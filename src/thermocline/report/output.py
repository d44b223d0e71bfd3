"""Text for an output that may not be UTF-8, may be closed, or may not be there: writing it raises nothing."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

PLAIN = "thermocline.plain"
"""Name of an error handler of codecs: what an encoding lacks becomes plain signs, or escapes such as `\\u65e5`."""

_SIGNS = {
    **{
        "×": "x",
        "·": ".",
        "–": "-",
        "—": "-",
        "−": "-",
        "…": "...",
        "→": "->",
        "⚠": "!",
        "±": "+-",
        "≤": "<=",
        "≥": ">=",
    },
    **{"’": "'", "‘": "'", "“": '"', "”": '"', "│": "|", "─": "-", "├": "|", "└": "`"},
    **dict.fromkeys("█▉▊▋▌▍▎▏▇▆▅▄▃▂▁", "#"),
}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SIGNS.get(one) or one.encode("ascii", "backslashreplace").decode() for one in lacking), error.end


codecs.register_error(PLAIN, _plain)


class Tolerant:
    """A stream like another one, to which anything can be written.

    What cannot be encoded is written in plain signs. Where nothing can be written (no stream, a closed one, a reader
    that has gone, a full disk) the text is lost: what a run prints must not end it.

    Args:
        stream: The stream, or None.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._wrapped = stream

    def write(self, text: str) -> int:
        """Write a text, if it can be."""
        if self._wrapped is not None:
            with suppress(OSError, ValueError):  # ValueError: it is closed
                try:
                    self._wrapped.write(text)
                except UnicodeEncodeError:
                    encoding = getattr(self._wrapped, "encoding", None) or "ascii"
                    self._wrapped.write(text.encode(encoding, PLAIN).decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if it can be."""
        if self._wrapped is not None:
            with suppress(OSError, ValueError):
                self._wrapped.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def __eq__(self, other: object) -> bool:  # tqdm compares, to write clear of its bars
        return self._wrapped is getattr(other, "_wrapped", other)

    def __hash__(self) -> int:
        return id(self._wrapped)


def is_open(stream: TextIO | None) -> bool:
    """Return whether a stream is there and takes what was written to it."""
    if stream is None:
        return False
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def plain_where_needed() -> Iterator[None]:
    """Write plain signs to stdout and stderr where their encoding lacks a letter, for as long as the context lasts."""
    with ExitStack() as stack:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stack.callback(_reconfigure, stream, stream.errors or "strict")
                _reconfigure(stream, PLAIN)
        yield


def _reconfigure(stream: Any, errors: str) -> None:
    with suppress(OSError, ValueError):  # it flushes first
        stream.reconfigure(errors=errors)


def encodable(text: str) -> bool:
    """Return whether stdout can take a text as it is."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
