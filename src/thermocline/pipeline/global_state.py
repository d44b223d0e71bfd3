"""What libraries change in the process when they are imported, put back: random numbers, variables, warning filters."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: What the names of variables begin with that libraries set for themselves.
OF_LIBRARIES = (
    "KMP_",
    "OMP_",
    "MKL_",
    "TORCH",
    "PYTORCH_",
    "TRITON_",
    "TOKENIZERS_",
    "HF_",
    "TRANSFORMERS_",
    "SKLEARN_",
)


@contextmanager
def kept() -> Iterator[None]:
    """Put back, at the end, what libraries changed while they were imported inside.

    Where nothing was imported nothing is put back: numbers that another thread drew meanwhile stay drawn.
    """
    modules, drawn, filters = len(sys.modules), random.getstate(), list(warnings.filters)
    variables = _variables()
    try:
        yield
    finally:
        if len(sys.modules) != modules:
            random.setstate(drawn)
            for name in _variables().keys() - variables.keys():
                os.environ.pop(name, None)
            os.environ.update(variables)
            if warnings.filters != filters:
                warnings.filters[:] = filters  # type: ignore[index]
                with warnings.catch_warnings():  # tells the interpreter that they changed
                    pass


def keeps_global_state(function: Callable[P, T]) -> Callable[P, T]:
    """Return the same function, called inside `kept`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with kept():
            return function(*args, **kwargs)

    return call


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(OF_LIBRARIES)}
