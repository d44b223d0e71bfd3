"""Segment globs: patterns over dotted names, in which a dot ends a segment and `[0-5]` is a range."""

from __future__ import annotations

import re
from functools import lru_cache

from thermocline.errors import SelectorError
from thermocline.tuning.layers.expressions import Expression
from thermocline.tuning.layers.module_names import prefixes

_MAX_RANGE = 10_000


@lru_cache(maxsize=1024)
def compile_glob(pattern: str) -> Expression:
    """Return a regular expression for a segment glob; use it with `fullmatch`.

    `*` stands for anything within one segment, `**` for any number of whole segments (also none), `?` for one
    character, `[0-5]` and `[0-2,7]` for numbers.

    Raises:
        SelectorError: The pattern cannot be read.
    """
    segments = pattern.split(".")
    if any(not segment for segment in segments):
        raise SelectorError(
            f"The pattern {pattern!r} has an empty segment. Write names as in 'encoder.layer.3', and "
            "'re:…' for a regular expression."
        )
    out = ""
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if segment == "**":
            out += r"(?:[^.]+(?:\.[^.]+)*)" if last else r"(?:[^.]+\.)*"
        else:
            out += _segment(segment, pattern) + ("" if last else r"\.")
    return Expression(out, pattern)


@lru_cache(maxsize=1024)
def compile_parameter_glob(pattern: str) -> Expression:
    """Return a regular expression for a glob over names of parameters; use it with `fullmatch`.

    It matches a name of which a run of whole segments fits the glob: `bias`, `*.bias` and `*norm*` as well as
    `encoder.layer.1`, which is not `encoder.layer.10`. `*` stands for anything, dots included; `?` and numbers in
    brackets are as in `compile_glob`.

    Raises:
        SelectorError: The pattern cannot be read.
    """
    if any(not segment for segment in pattern.split(".")):
        raise SelectorError(
            f"The pattern {pattern!r} has an empty segment. Write names as in '*.bias' or 'encoder.layer.3.*', and "
            "'re:…' for a regular expression."
        )
    return Expression(rf"(?:.*\.)?{_segment(pattern, pattern, star='.*')}(?:\..*)?", pattern)


def _segment(segment: str, pattern: str, *, star: str = "[^.]*") -> str:
    out = ""
    for piece in re.split(r"(\[[^\]]*\]|\*+|\?)", segment):
        if piece and not piece.strip("*"):
            out += star
        elif piece == "?":
            out += "[^.]"
        elif piece.startswith("[") and piece.endswith("]"):
            out += _numbers(piece, pattern)
        elif "[" in piece or "]" in piece:
            raise SelectorError(f"The pattern {pattern!r} has a bracket without its partner. {_RANGE_HELP}")
        else:
            out += re.escape(piece)
    return out


_RANGE_HELP = "Brackets hold numbers: [0-5], [0,2,4] or [0-2,7]; 're:…' takes a regular expression."


def _numbers(piece: str, pattern: str) -> str:
    numbers: list[int] = []
    for part in piece[1:-1].split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise SelectorError(f"Cannot read {piece!r} in the pattern {pattern!r}. {_RANGE_HELP}")
        start = int(match[1])
        stop = int(match[2]) if match[2] is not None else start
        if stop < start or stop - start > _MAX_RANGE:
            raise SelectorError(
                f"The range {piece!r} in the pattern {pattern!r} must run from a smaller to a larger number."
            )
        numbers.extend(range(start, stop + 1))
    return "(?:" + "|".join(str(number) for number in numbers) + ")"


def matches_at_or_above(pattern: str, name: str) -> bool:
    """Whether the glob matches `name` or one of the modules that `name` lies in."""
    regex = compile_glob(pattern)
    return any(regex.fullmatch(above) for above in prefixes(name))


def matches_suffix(pattern: str, name: str) -> bool:
    """Whether the glob matches the end of `name`, at a segment's boundary."""
    regex = compile_glob(pattern)
    parts = name.split(".")
    return any(regex.fullmatch(".".join(parts[start:])) for start in range(len(parts)))
