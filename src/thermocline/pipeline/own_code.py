"""Code of the caller's own that a fit calls, checked before anything is loaded: callbacks and loggers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.pipeline.arguments import shown
from thermocline.training.callbacks import HOOKS, Callback
from thermocline.training.loggers import Logger

LOGGER_METHODS = ("begin", "log", "flush", "close", "state_dict", "load_state_dict")
OTHER_NAMES = {
    "on_train_begin": "on_fit_begin",
    "on_train_start": "on_fit_begin",
    "on_train_end": "on_fit_end",
    "on_train_epoch_start": "on_epoch_begin",
    "on_train_epoch_end": "on_epoch_end",
    "on_train_batch_start": "on_step_begin",
    "on_train_batch_begin": "on_step_begin",
    "on_train_batch_end": "on_step_end",
    "on_batch_begin": "on_step_begin",
    "on_batch_end": "on_step_end",
    "on_validation_start": "on_validation_begin",
    "on_test_end": "on_validation_end",
    "on_evaluate": "on_validation_end",
}
"""Hooks of Keras, Lightning and transformers, and what they are here."""


def callbacks_of(value: Any) -> tuple[Callback, ...]:
    """Return callbacks that were given, as a tuple.

    Args:
        value: A list of callbacks, or one; a class that takes no arguments stands for an object of it.

    Raises:
        ConfigError: They are no callbacks, or one has a hook that is never called or takes other arguments.
    """
    found = _objects("callbacks", value, lambda one: isinstance(one, Callback), "derive from thermocline.Callback")
    for one in found:
        _check_hooks(one)
    return found


def loggers_of(value: Any) -> tuple[Logger, ...]:
    """Return loggers that were given, as a tuple.

    Args:
        value: A list of loggers, or one; a class that takes no arguments stands for an object of it.

    Raises:
        ConfigError: They are no loggers.
    """
    texts = [one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, str)]
    if texts:
        raise ConfigError(
            f"loggers takes objects, such as thermocline.TensorBoard(), not {texts[0]!r}. Names are values of an "
            f"option: hyperparameters={{'env.loggers': {texts}}}."
        )
    return _objects("loggers", value, _logs, f"derive from thermocline.Logger or have its methods {LOGGER_METHODS}")


def _logs(one: Any) -> bool:
    return all(callable(getattr(one, name, None)) for name in LOGGER_METHODS)


def _objects(name: str, value: Any, is_one: Callable[[Any], bool], allowed: str) -> tuple[Any, ...]:
    alone = not isinstance(value, list | tuple)
    given = [] if value is None else [value] if alone else list(value)
    objects = [_made(one, name) if isinstance(one, type) else one for one in given]
    for one in objects:
        if not is_one(one):
            raise ConfigError(f"{name} is a list of objects that {allowed}, not {shown(one)}.")
    twice = [one for place, one in enumerate(objects) if any(one is before for before in objects[:place])]
    if twice:
        raise ConfigError(f"{name} holds {shown(twice[0])} twice: give it once, or make two objects.")
    return tuple(objects)


def _made(kind: type, name: str) -> Any:
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        raise ConfigError(
            f"{name} holds the class {kind.__name__}, which cannot be made without arguments ({error}): make one, "
            f"{kind.__name__}(…)."
        ) from None
    except ValueError:  # a class that does not say what it takes
        raise ConfigError(f"{name} holds the class {kind.__name__}: make an object of it.") from None
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"{name} holds the class {kind.__name__}, which lacks {listing(missing)}.")
    return kind()


def _check_hooks(callback: Callback) -> None:
    """Check that a callback has no hook that is never called, and that each takes one argument.

    Raises:
        ConfigError: It has.
    """
    kind = type(callback).__name__
    for name in (name for name in dir(callback) if name.startswith("on_")):
        hook = getattr(callback, name)
        if name not in HOOKS:
            if not callable(hook):
                continue
            meant = f" Did you mean {OTHER_NAMES[name]!r}?" if name in OTHER_NAMES else did_you_mean(name, HOOKS)
            raise ConfigError(
                f"The callback {kind} has {name!r}, which no fit calls.{meant} Hooks are {', '.join(HOOKS)}; begin the "
                "name of a method of your own otherwise."
            )
        try:
            inspect.signature(hook).bind(None)
        except TypeError:
            raise ConfigError(
                f"{name} of the callback {kind} takes {inspect.signature(hook)}; it is called with one argument, the "
                f"state: def {name}(self, state)."
            ) from None
