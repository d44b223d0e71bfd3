"""Objects of the caller's own as values of options: a configuration records their names, and nothing is imported."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

LONGEST = 2000  # letters of arguments that are recorded
_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_<][\w.<>]*(\(.*\))?", flags=re.DOTALL)


@dataclass(frozen=True)
class Own:
    """An object given for an option.

    Attributes:
        value: The object.
    """

    value: Any

    @property
    def name(self) -> str:
        """What is recorded of it: its module and its name in there, such as `my.package:MyOptimizer`.

        Of an object without a name of its own those of its class, with what its `repr` says of its arguments.
        """
        arguments, value = "", self.value
        if isinstance(value, functools.partial):
            words = [*map(repr, value.args), *(f"{key}={one!r}" for key, one in sorted(value.keywords.items()))]
            arguments, value = f"({', '.join(words)})", value.func
        if not hasattr(value, "__qualname__"):
            said, value = repr(value), type(value)
            arguments = arguments or (said[said.index("(") :] if said.endswith(")") and "(" in said else "")
        arguments = "" if " at 0x" in arguments else " ".join(arguments.split())
        cut = arguments if len(arguments) <= LONGEST else f"{arguments[:LONGEST]}…)"
        return f"{value.__module__}:{value.__qualname__}{cut}"


class Needed(Own):
    """One without which a saved predictor cannot be built again; it is not saved, and travels whole."""


def is_recorded(text: str) -> bool:
    """Whether a text is what is recorded of an object of the caller's own."""
    return bool(_NAME.fullmatch(text))
