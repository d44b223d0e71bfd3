"""What callbacks and loggers remember, as checkpoints keep it."""

from __future__ import annotations

import json
from typing import Any

from thermocline.errors import ConfigError


def kind_of(one: object) -> str:
    """Return the name of an object's class, by which a checkpoint knows it."""
    return type(one).__qualname__


def plain_state(one: Any, what: str) -> dict[str, Any]:
    """Return what `state_dict` of an object returns, as JSON has it.

    Raises:
        ConfigError: It is no dict, or JSON cannot hold it.
    """
    state = one.state_dict()
    try:
        plain: dict[str, Any] = json.loads(json.dumps(state))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"state_dict of the {what} {kind_of(one)} returns what JSON cannot hold ({error}). Return a dict of "
            "texts, numbers, truth values, None, lists and dicts."
        ) from None
    if not isinstance(plain, dict):
        raise ConfigError(f"state_dict of the {what} {kind_of(one)} returns {state!r}; it returns a dict.")
    return plain
