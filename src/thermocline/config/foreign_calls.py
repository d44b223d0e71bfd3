"""Arguments and methods that other libraries have, so that an error can say what to write here."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from thermocline.errors import ArgumentError, did_you_mean

from .documents import read_yaml
from .foreign import ABSENT, FOLDER, foreign_key
from .joined import schema_of

Class = TypeVar("Class", bound=type[Any])

_CALLED = re.compile(r"it is called '([\w.]+)' here")
METHODS = "methods"
"""The file of methods and attributes."""


def answers_arguments(kind: Class) -> Class:
    """Let the public methods of a class answer arguments that they do not take; for use as a decorator.

    Python's own error says that an argument is unexpected; this one says what was meant, or what to write.
    """
    for name, member in list(vars(kind).items()):
        if name != "__init__" and name.startswith("_"):
            continue
        if inspect.isfunction(member):
            setattr(kind, name, _answering(member, kind.__name__))
        elif isinstance(member, classmethod):
            setattr(kind, name, classmethod(_answering(member.__func__, kind.__name__)))
    return kind


def _answering(function: Callable[..., Any], owner: str) -> Callable[..., Any]:
    every = list(inspect.signature(function).parameters.values())[1:]
    if any(one.kind is one.VAR_KEYWORD for one in every):  # which answers by itself
        return function
    names = {one.name: one for one in every}
    places = [one.name for one in every if one.kind is one.POSITIONAL_OR_KEYWORD]
    called = owner if function.__name__ == "__init__" else function.__name__

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        unknown = [name for name in kwargs if name not in names]
        if unknown:
            answers = [f"{called} takes no argument {name!r}.{_meant(name, list(names))}" for name in unknown]
            raise ArgumentError(" ".join(answers))
        if len(args) - 1 > len(places):
            raise ArgumentError(
                f"{called} takes {len(places)} arguments by position, {', '.join(places)}; {len(args) - 1} were given. "
                f"Give others by name: {', '.join(name for name in names if name not in places)}."
                + (" Labels beside a table are a pair: fit((X, y), (X_val, y_val))." if called == "fit" else "")
            )
        return function(*args, **kwargs)

    return call


def _meant(name: str, parameters: list[str]) -> str:
    """Return what was meant by an argument that a function does not take, and what it takes."""
    near = difflib.get_close_matches(name.lower(), parameters, n=1, cutoff=0.8)
    if near:
        return f" Did you mean {near[0]!r}?"
    keys = schema_of().keys
    wanted = [f"eval_{name}", name] if parameters[:1] == ["data"] else [name]  # of predictions, or of the fit
    options = [path for one in wanted for path, key in keys.items() if one in (path, key.name, path.replace(".", "_"))]
    hint = "" if options else foreign_key(name, keys)
    if found := _CALLED.match(hint):
        options, hint = [found[1]], hint[found.end() :]
    if options:
        return f" It is an option, set in fit: hyperparameters={{{options[0]!r}: …}}{hint or '.'}"
    hint = hint.removeprefix(ABSENT)
    if hint:
        return f" {hint[0].upper()}{hint[1:]}"
    return did_you_mean(name, parameters) or f" It takes {', '.join(parameters)}."


@lru_cache(maxsize=1)
def foreign_methods() -> dict[str, str]:
    """Return what to write in place of each method or attribute of another library."""
    return {name: str(ours) for name, ours in read_yaml(FOLDER / f"{METHODS}.yaml", "the names of methods").items()}


def no_attribute(found: object, name: str) -> AttributeError:
    """Return the error of an attribute that is not there, with what does the same here.

    Args:
        found: The object that lacks it.
        name: Its name.
    """
    kind = type(found).__name__
    ours = foreign_methods().get(name) if not name.startswith("_") else None
    hint = f" Here: {ours}." if ours else ""
    if not hint and not name.startswith("_"):
        hint = did_you_mean(name, [one for one in dir(type(found)) if not one.startswith("_")])
    return AttributeError(f"{kind} has no attribute {name!r}.{hint}", name=name, obj=found)
