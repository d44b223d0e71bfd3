"""What the reference documents: the names behind `:::` on its pages, and their public members."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def documented_names() -> list[str]:
    """Return the dotted names that the pages of the reference document."""
    pages = [path.read_text(encoding="utf-8") for path in sorted(REFERENCE.glob("*.md"))]
    return [name for page in pages for name in re.findall(r"^::: ([\w.]+)$", page, flags=re.MULTILINE)]


def found(name: str) -> Any:
    """Return the object of a dotted name."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, those that it has of other classes of ours included."""
    seen = set()
    for base in kind.__mro__:
        if not base.__module__.startswith("thermocline"):
            continue
        for name, member in vars(base).items():
            if not name.startswith("_") and name not in seen and _is_shown(member):
                seen.add(name)
                yield name, member


def is_method(member: Any) -> bool:
    """Whether a member is called."""
    return callable(member) or isinstance(member, classmethod | staticmethod)


def text_of(member: Any) -> str:
    """Return a member's own docstring; of a property that of its function."""
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    return inspect.cleandoc(getattr(member, "__doc__", None) or "")


def _is_shown(member: Any) -> bool:
    if isinstance(member, type):
        return False
    return is_method(member) or isinstance(member, property | cached_property)
