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


def documented() -> dict[str, list[str] | None]:
    """Return dotted name → the members that the pages of the reference document, None: all public ones."""
    pages = [path.read_text(encoding="utf-8") for path in sorted(REFERENCE.glob("*.md"))]
    shown: dict[str, list[str] | None] = {}
    for name, options in re.findall(r"^::: ([\w.]+)\n((?:    .*\n)*)", "\n".join(pages), flags=re.MULTILINE):
        some = re.search(r"members: \[(.*)\]", options)
        assert name not in shown, f"{name} is documented twice"
        shown[name] = [one.strip() for one in some[1].split(",") if one.strip()] if some else None
    return shown


def found(name: str) -> Any:
    """Return the object of a dotted name."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def members(name: str, only: list[str] | None) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, those that it has of other classes of ours included.

    Args:
        name: The dotted name of the class.
        only: The names of those that are documented; None: all.
    """
    seen: set[str] = set()
    kind = found(name)
    for base in kind.__mro__:
        if not base.__module__.startswith("thermocline"):
            continue
        for one, member in vars(base).items():
            if one not in seen and (only is None or one in only) and not one.startswith("_") and _is_shown(member):
                seen.add(one)
                yield one, member


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
