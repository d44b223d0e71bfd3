"""What of a model goes into an export: a module of arrays, how its inputs are made, how outputs become answers.

A program that uses an exported model has neither torch nor this package. What it needs of a kind is source that imports
the standard library, numpy, Pillow and tokenizers only (`data/standalone_cells.py` says how it is put together), and
settings as plain data for JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

ROWS = "rows"
"""The axis of rows, which the arrays of all inputs share."""


@dataclass(frozen=True)
class InputForm:
    """One input of an exported model.

    Attributes:
        axes: Name of an array → the name of each of its axes; None where its length is fixed. The first one is `ROWS`.
        example: Returns arrays of some rows, of another length at each axis that is not fixed for another number.
        settings: What the reader is made from, as plain data for JSON.
        reader: The name of the class that turns rows into arrays, in the last of `sources`.
        sources: Modules that go into the program, by full name, each behind those that it imports.
    """

    axes: Mapping[str, tuple[str | None, ...]]
    example: Callable[[int], Mapping[str, np.ndarray]]
    settings: Mapping[str, Any]
    reader: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class ExportForm:
    """A model as it is exported.

    Attributes:
        model: Maps a dict of arrays, `"<input>/<array>"`, to a dict of outputs; in eval mode, on the CPU.
        inputs: The inputs by name.
        expected: Returns what other outputs have to be, given the raw ones: name → array.
        settings: What answers are made from, as plain data for JSON.
        answers: The name of the class that turns outputs into answers, in the last of `sources`.
        sources: As in `InputForm`.
        one_row: Whether the program asks for one row at a time.
        unordered: Outputs whose second axis may come in another order, all in the same, such as queries that a detector
            chose by scores which hardly differ.
    """

    model: nn.Module
    inputs: Mapping[str, InputForm]
    expected: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
    settings: Mapping[str, Any]
    answers: str
    sources: tuple[str, ...]
    one_row: bool = False
    unordered: tuple[str, ...] = ()


def by_input(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a batch by input, given arrays of an exported model: `text/input_ids` is `["text"]["input_ids"]`."""
    batch: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        of, _, key = name.partition("/")
        batch.setdefault(of, {})[key] = array
    return batch
