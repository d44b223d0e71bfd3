"""Functions among the hyperparameters: they are taken out, and their names stand in their place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from thermocline.errors import ConfigError

FUNCTION = "function:"
"""How the value of an option begins that is a function; its module and name follow."""

TAKE_FUNCTIONS = frozenset({"optim.loss"})
"""The options that take a function."""


def without_functions(hyperparameters: Any) -> tuple[Any, dict[str, Callable[..., Any]]]:
    """Return hyperparameters with names in place of functions, and the functions by the dotted name of their option.

    What is no mapping, or no list of such, stays as it is, and so does everything that is no function: it is checked
    later.

    Raises:
        ConfigError: A function for an option that takes none, or a class.

    Example:
        >>> without_functions({"optim": {"loss": len}})
        ({'optim': {'loss': 'function:builtins.len'}}, {'optim.loss': <built-in function len>})
    """
    found: dict[str, Callable[..., Any]] = {}
    return _named(hyperparameters, "", found), found


def function_name(function: Any) -> str:
    """Return what stands for a function where it is recorded: `function:` and its module and qualified name."""
    arguments = ""
    if isinstance(function, functools.partial):
        words = [*map(repr, function.args), *(f"{key}={value!r}" for key, value in sorted(function.keywords.items()))]
        arguments, function = f"({', '.join(words)})"[:200], function.func
    owner = function if hasattr(function, "__qualname__") else type(function)
    return f"{FUNCTION}{owner.__module__}.{owner.__qualname__}{arguments}"


def _named(value: Any, path: str, found: dict[str, Callable[..., Any]]) -> Any:
    if isinstance(value, Mapping):
        if not any(_holds_function(one) for one in value.values()):
            return value
        here = f"{path}." if path else ""
        return {key: _named(one, f"{here}{str(key).strip()}", found) for key, one in value.items()}
    if isinstance(value, (list, tuple)) and not path:
        return [_named(one, path, found) for one in value]
    if not path or not callable(value):
        return value
    if path not in TAKE_FUNCTIONS:
        raise ConfigError(
            f"{path}: {value!r} is a function, and this option takes none; functions are for "
            f"{', '.join(sorted(TAKE_FUNCTIONS))}."
        )
    if isinstance(value, type):
        raise ConfigError(
            f"{path}: {value.__name__} is a class. Give an object of it, {value.__name__}(), or a function."
        )
    found[path] = value
    return function_name(value)


def _holds_function(value: Any) -> bool:
    return any(map(_holds_function, value.values())) if isinstance(value, Mapping) else callable(value)
