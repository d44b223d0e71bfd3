"""Objects of the caller's own as values of options: a configuration records their names, and nothing is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_<][\w.<>]*")


@dataclass(frozen=True)
class Own:
    """An object given for an option.

    Attributes:
        value: The object.
    """

    value: Any

    @property
    def name(self) -> str:
        """Its module and its name in there, such as `my.package:MyOptimizer`: what is recorded of it."""
        return f"{self.value.__module__}:{self.value.__qualname__}"


def is_own(value: object) -> bool:
    """Whether a value is a class or a function, which has a name."""
    return callable(value) and hasattr(value, "__qualname__") and hasattr(value, "__module__")


def is_recorded(text: str) -> bool:
    """Whether a text is what is recorded of an object of the caller's own."""
    return bool(_NAME.fullmatch(text))
