"""Classes whose names differ in what the eye does not see: one class that was written in two ways, mostly."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from thermocline.errors import LabelError, ThermoclineWarning


def check_alike(classes: Iterable[Any], where: str) -> None:
    """Check that no two classes have names that look the same; warn of those that differ in capitals alone.

    Args:
        classes: The classes.
        where: What they are of, for messages.

    Raises:
        LabelError: Names differ only in spaces, invisible characters, or the way in which letters are encoded.
    """
    names = [name for name in classes if isinstance(name, str)]
    same = _groups(names, _seen)
    if same:
        raise LabelError(
            f"{where} has classes whose names differ only in spaces or invisible characters: {_shown(same)}. Write "
            "each in one way, for instance `name.strip()`."
        )
    for group in _groups([name for name in names if len(name) > 1], str.casefold):  # letters are classes of their own
        warnings.warn(
            f"{where} has classes whose names differ only in capitals: {_shown([group])}. They are learned as "
            "different ones; write them in one way if they are not.",
            ThermoclineWarning,
            stacklevel=5,
        )


def _seen(name: str) -> str:
    """Return a name without what cannot be seen."""
    text = unicodedata.normalize("NFC", name)
    return " ".join("".join(letter for letter in text if unicodedata.category(letter) != "Cf").split())


def _groups(names: list[str], key: Callable[[str], str]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(key(name), []).append(name)
    return [group for group in found.values() if len(group) > 1]


def _shown(groups: list[list[str]]) -> str:
    return "; ".join(
        " and ".join(ascii(name) if _seen(name) != name else repr(name) for name in group) for group in groups
    )
