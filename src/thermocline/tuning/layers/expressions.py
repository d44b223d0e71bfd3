"""Regular expressions that cannot hang: a plan may come with a file of somebody else."""

from __future__ import annotations

import re
import time
from typing import Any

from thermocline.errors import SelectorError

LONGEST = 10_000
"""Characters that an expression may have."""
MOST_SECONDS = 0.3
"""CPU time that the slow matches of one expression may take together; a usual one takes microseconds."""
_SLOW = 0.01


class Expression:
    """A regular expression, as Python's `re` reads it, whose matches are stopped when they take too long.

    Args:
        source: The expression.
        shown: How messages call it, such as `re:…`.

    Raises:
        SelectorError: It is no regular expression, or is too long.
    """

    def __init__(self, source: str, shown: str) -> None:
        import regex

        self.shown = shown if len(shown) <= 100 else f"{shown[:97]}…"
        if len(source) > LONGEST:
            raise SelectorError(
                f"{self.shown!r} has {len(source):,} characters, and a pattern has at most {LONGEST:,}. Write a list "
                "of shorter ones."
            )
        try:
            re.compile(source)
            self._compiled: Any = regex.compile(source)
        except (re.error, regex.error, RecursionError, OverflowError) as error:
            raise SelectorError(f"{self.shown!r} is no regular expression: {error}.") from None
        self._seconds = 0.0

    def fullmatch(self, text: str) -> Any:
        """Return the match of a whole text, or None.

        Raises:
            SelectorError: Matching takes too long.
        """
        return self._timed(self._compiled.fullmatch, text)

    def match(self, text: str) -> Any:
        """Return the match at the start of a text, or None.

        Raises:
            SelectorError: Matching takes too long.
        """
        return self._timed(self._compiled.match, text)

    def _timed(self, match: Any, text: str) -> Any:
        begin = time.thread_time()
        try:
            return match(text, timeout=MOST_SECONDS)
        except TimeoutError:
            self._seconds = MOST_SECONDS
        finally:
            taken = time.thread_time() - begin
            self._seconds += taken if taken > _SLOW else 0.0
            if self._seconds >= MOST_SECONDS:
                raise self._too_slow(text) from None
        return None

    def _too_slow(self, text: str) -> SelectorError:
        name = text if len(text) <= 100 else f"{text[:97]}…"
        return SelectorError(
            f"Matching {self.shown!r} with {name!r} takes too long. Repetitions within repetitions, such as '(a+)+', "
            "try exponentially many ways: write it without them, or name the layers in a list."
        )
