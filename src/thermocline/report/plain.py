"""Values as JSON takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return a value as JSON takes it: what is not finite or missing is None, keys are texts, other objects are texts.

    Args:
        value: Mappings, lists, arrays, scalars, times and texts; numpy is not imported for it.

    Example:
        >>> plain({1: (np.float32(0.5), float("nan"), np.arange(2))})
        {'1': [0.5, None, [0, 1]]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return plain(value.tolist())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)
