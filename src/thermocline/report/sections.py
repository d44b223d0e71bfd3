"""Sections of a report in a neutral form: tables, curves, matrices, bars and points. How they look is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Cell: TypeAlias = Any
"""A text, a class, a whole number, a float (NaN: not defined) or None (an empty cell)."""


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        title: What it shows.
        header: Names of the columns.
        rows: A tuple of cells for each row.
        note: A sentence below it, or nothing.
        most: How many rows are shown; all are in `to_dict()`.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    most: int = 20


@dataclass(frozen=True)
class Curve:
    """Lines over one axis.

    Attributes:
        title: What it shows.
        axes: What is on the horizontal and on the vertical axis.
        x: Places on the horizontal axis.
        lines: Name → height at each place; NaN where there is none.
        diagonal: Whether the diagonal, where both axes agree, is drawn as well.
        marks: Name → place on the horizontal axis that a vertical line marks.
        table: What stands in place of the picture in text; None: nothing.
        points: Whether the places are marked by dots.
    """

    title: str
    axes: tuple[str, str]
    x: tuple[float, ...]
    lines: Mapping[str, tuple[float, ...]]
    diagonal: bool = False
    marks: Mapping[str, float] = field(default_factory=dict)
    table: Table | None = None
    points: bool = False


@dataclass(frozen=True)
class Matrix:
    """Counts of true against predicted classes.

    Attributes:
        title: What it shows.
        names: The classes, as rows and as columns.
        values: A tuple for each true class: rows that were predicted as each class.
        note: A sentence below it, or nothing.
    """

    title: str
    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Bars:
    """A number for each of some names; a picture alone, for numbers that a table has as well.

    Attributes:
        title: What it shows.
        axis: What the numbers are.
        bars: Name → number.
    """

    title: str
    axis: str
    bars: Mapping[str, float]


@dataclass(frozen=True)
class Points:
    """A point for each row; a picture alone.

    Attributes:
        title: What it shows.
        axes: What is on the horizontal and on the vertical axis.
        x: Places on the horizontal axis.
        y: Places on the vertical axis.
        level: Where a horizontal line is drawn.
    """

    title: str
    axes: tuple[str, str]
    x: tuple[float, ...]
    y: tuple[float, ...]
    level: float = 0.0


Section: TypeAlias = Table | Curve | Matrix | Bars | Points
