"""Builds a saved model only where it has the tensors that its file of weights has: first for shapes, then for use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks

from thermocline.errors import counted, listing

#: What a model may have beyond the tensors of its file while it is built: parts that are dropped, masks and tables.
SPARE_TENSORS, SPARE_ELEMENTS, SPARE_BUFFERS = 1000, 50_000_000, 2_000_000_000
_TIMES = 4  # an encoder may be built with a decoder, which is dropped
_MODULES = 40  # without weights, for one tensor


class TooMuch(ValueError):
    """A description of a model that asks for more than its weights hold."""


@dataclass(frozen=True)
class Weights:
    """What the header of a file of weights lists.

    Attributes:
        shapes: The shapes of tensors, by name.
    """

    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, file: Path) -> Weights:
        """Read a header; no tensor is read.

        Raises:
            ValueError: It is no such file, or shorter than its header says.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(file), framework="pt") as opened:
                return cls({name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()})  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{file.name} is no file of weights ({error})") from None

    @property
    def elements(self) -> int:
        """Numbers in all tensors together."""
        return sum(map(prod, self.shapes.values()))


def built_as_saved(build: Callable[[], tuple[nn.Module, Any]], weights: Weights) -> tuple[nn.Module, Any]:
    """Build a model, after its shapes were found to be those of its weights.

    A few bytes of a description may ask for more memory, or for more modules, than any machine has. So it is built on
    the meta device first, which takes no memory, with as many tensors as the file accounts for.

    Args:
        build: Builds the model, and something with it.
        weights: The weights that it will get.

    Raises:
        TooMuch: The description asks for more than that.
        ValueError: The shapes are others.
    """
    shapes: nn.Module | None = None
    try:
        with _bounded(weights), torch.device("meta"):
            shapes, _ = build()
    except TooMuch:
        raise
    except Exception:  # what cannot be built without values, or not at all, which shows below
        pass
    if shapes is not None:
        _compare(shapes, weights)
    with _bounded(weights):
        return build()


def _compare(model: nn.Module, weights: Weights) -> None:
    own = model.state_dict(keep_vars=True)
    wrong = [
        f"{name} of shape {list(shape)} where the model has {list(own[name].shape) if name in own else 'none'}"
        for name, shape in weights.shapes.items()
        if name not in own or tuple(own[name].shape) != shape
    ]
    if wrong:
        raise ValueError(f"model.safetensors holds {listing(wrong, limit=3)}")
    given = {id(own[name]) for name in weights.shapes}
    lacking = [name for name, tensor in own.items() if name not in weights.shapes and id(tensor) not in given]
    missing = sum(own[name].numel() for name in lacking)
    if missing > weights.elements + SPARE_ELEMENTS:
        raise TooMuch(f"model.safetensors lacks {counted(len(lacking), 'tensor')} ({listing(lacking, limit=3)})")


@contextmanager
def _bounded(weights: Weights) -> Iterator[None]:
    """Count what modules that are built in this thread register, and refuse more than the weights account for."""
    own = threading.get_ident()
    most = _TIMES * len(weights.shapes) + SPARE_TENSORS
    numbers = _TIMES * weights.elements
    left = {"modules": _MODULES * most, "tensors": most, "parameters": numbers + SPARE_ELEMENTS}
    left["bytes of buffers"] = 4 * numbers + SPARE_BUFFERS

    def count(kind: str, number: int) -> None:
        left[kind] -= number
        if left[kind] < 0:
            raise TooMuch(
                f"it describes a model of more {kind} than belong to the {counted(len(weights.shapes), 'tensor')} of "
                "model.safetensors"
            )

    def parameter(_module: nn.Module, _name: str, value: torch.Tensor | None) -> None:
        if threading.get_ident() == own and value is not None:
            count("tensors", 1)
            count("parameters", value.numel())

    def buffer(_module: nn.Module, _name: str, value: torch.Tensor | None) -> None:
        if threading.get_ident() == own and value is not None:
            count("tensors", 1)
            count("bytes of buffers", value.nbytes)

    def child(_module: nn.Module, _name: str, value: nn.Module | None) -> None:
        if threading.get_ident() == own and value is not None:
            count("modules", 1)

    with ExitStack() as stack:
        stack.callback(hooks.register_module_parameter_registration_hook(parameter).remove)
        stack.callback(hooks.register_module_buffer_registration_hook(buffer).remove)
        stack.callback(hooks.register_module_module_registration_hook(child).remove)
        yield
