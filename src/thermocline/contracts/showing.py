"""What a person looks at: what a model reads of a row, what it answers, and the parts of a cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class View:
    """What a model reads of a row in one column, or in several that it reads as one.

    Attributes:
        name: The column, or the columns.
        text: What is read, as text; of a picture its size.
        note: What preprocessing did, such as `reads 24 of 130 tokens`; empty: nothing to say.
        picture: uint8 `(height, width, 3)`, or None.
        brief: Whether the text is a cell of a table: a number or a category.
    """

    name: str
    text: str
    note: str = ""
    picture: np.ndarray | None = None
    brief: bool = False


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model answers for a row, beside its label.

    Attributes:
        prediction: As text.
        label: As text; None where there is none.
        right: Whether the prediction is the label; None where there is no label, or the label is a number.
        note: Such as the probability, or how far off a number is; empty: nothing to say.
        picture: The answer on its picture, uint8 `(height, width, 3)`, in the place of what the model reads; or None.
    """

    prediction: str
    label: str | None = None
    right: bool | None = None
    note: str = ""
    picture: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a cell, and the cell without each of them.

    Attributes:
        texts: Each part as text, with the white space before it; together they are the cell. Of a picture empty.
        cells: The cell without each part, in the order of `texts`, or of the fields of `grid` row by row.
        picture: Of a picture what it shows, uint8 `(height, width, 3)`; else None.
        grid: Of a picture the rows and columns of fields that are hidden one by one.
    """

    texts: tuple[str, ...]
    cells: tuple[object, ...]
    picture: np.ndarray | None = None
    grid: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class CellParts:
    """The parts of a cell with what each adds to an output.

    Attributes:
        column: The column.
        texts: As of `Parts`.
        values: What each part adds, float64 `(parts,)`; of a picture `(rows, columns)` of fields or pixels.
        picture: As of `Parts`.
    """

    column: str
    texts: tuple[str, ...]
    values: np.ndarray
    picture: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Explained:
    """A number that a model answers for rows, which parts of a cell add to.

    Attributes:
        what: What it is, such as `probability of 'numpy'`.
        values: float64 `(rows,)`.
    """

    what: str
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Differentiable:
    """What one tower reads of a row, as numbers that an output can be differentiated by.

    Attributes:
        values: float32 `(1, …)`: embeddings of tokens, or pixels.
        baseline: What stands for nothing, of the same shape.
        placed: Given such numbers of several rows `(rows, …)`: a context that yields the tower's part of a batch, in
            which the tower computes from them.
        cells: Given what each number adds, float64 `(…)` without the first dimension: the parts of each column.
    """

    values: torch.Tensor
    baseline: torch.Tensor
    placed: Callable[[torch.Tensor], AbstractContextManager[dict[str, torch.Tensor]]]
    cells: Callable[[np.ndarray], Sequence[CellParts]]


@dataclass(frozen=True, eq=False)
class GradientOutput:
    """An output that can be differentiated.

    Attributes:
        what: What it is, such as `probability of 'numpy'`.
        compute: Maps a batch to it, float `(rows,)`.
        note: What has no part in it; empty: nothing.
    """

    what: str
    compute: Callable[[Any], torch.Tensor]
    note: str = ""
