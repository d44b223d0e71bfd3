"""Which of two classes is the positive one: given, by convention, or the rarer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.cells import as_classes
from thermocline.data.row_names import is_name, plain
from thermocline.data.values import TRUTH, number_or_none, stable_text
from thermocline.errors import ConfigError, did_you_mean, listing

CONVENTION = ("1", "true", "yes", "y", "positive", "pos")
"""Classes that are the positive one by convention, as lower-case text."""

PARTNERS = (0.0, -1.0)
"""The numbers beside which 1 is the positive class; among other numbers it is one of several."""


def find_positive(classes: Sequence[Any], counts: Mapping[Any, int], given: Any, *, label: object) -> tuple[Any, str]:
    """Return the positive class of two, and why.

    Without one that is given it is the one that is so by convention (1 beside 0 or -1, true, yes, y, positive, pos),
    else the rarer class, of two equally frequent ones the later in order.

    Args:
        classes: The two classes in order.
        counts: Rows of each.
        given: What the user named, or None.
        label: The label column, for the message.

    Raises:
        ConfigError: What was given is neither.
    """
    if given is not None:
        return _given(classes, given, label), "as given"
    usual = [value for value in classes if _is_usual(value, classes)]
    if len(usual) == 1:
        return usual[0], "by convention"
    first, last = classes
    if counts[first] == counts[last]:
        return last, "the later in order, of equally many rows"
    return (first if counts[first] < counts[last] else last), "the rarer"


def _is_usual(value: Any, classes: Sequence[Any]) -> bool:
    text = str(stable_text(value)).strip().lower()
    if text not in CONVENTION and number_or_none(text) != 1.0:
        return False
    other = next(one for one in classes if one != value)
    number = number_or_none(str(stable_text(other)))
    return not _is_number(text) or number in PARTNERS


def _is_number(text: str) -> bool:
    return number_or_none(text) is not None


def _given(classes: Sequence[Any], given: Any, label: object) -> Any:
    """Return the class that a value means, written as the labels are or otherwise (1, "1", 1.0, True)."""
    given = float(given) if isinstance(given, Decimal) else plain(given)  # as labels that are decimals
    if is_name(given):
        for forms in (_exact, _as_read, _as_text):
            found = [value for value in classes if forms(value, given, classes)]
            if len(found) == 1:
                return found[0]
    raise ConfigError(
        f"positive_class={given!r} is none of the two classes of label {label!r}: {listing(classes)}."
        f"{did_you_mean(given, classes)}"
    )


def _exact(value: Any, given: Any, classes: Sequence[Any]) -> bool:
    del classes
    return type(value) is type(given) and bool(value == given)


def _as_read(value: Any, given: Any, classes: Sequence[Any]) -> bool:
    """As a label of this value would be read: text that spells a number or a truth value is one."""
    return bool(as_classes(pd.Series([given], dtype=object), classes).iloc[0] == value)


def _as_text(value: Any, given: Any, classes: Sequence[Any]) -> bool:
    """As what both mean: numbers by value, truth values as 1 and 0, other text with its spaces as it is."""
    del classes
    return bool(_meaning(value) == _meaning(given))


def _meaning(value: Any) -> Any:
    text = str(stable_text(value))
    word = text.strip().lower()
    if word in TRUTH:
        return float(TRUTH[word])
    number = number_or_none(text)
    return text if number is None or np.isnan(number) else number
