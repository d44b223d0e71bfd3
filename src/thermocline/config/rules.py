"""Rules: what is chosen where an option is left open, by family of model, start and rows; each cell has a source.

The cells are data: `presets/rules.yaml`, read and checked by `rules_file.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from thermocline.errors import counted

ROWS = (50, 200, 1000, 5000)
"""The numbers of rows that a cell may be of."""
REACH = math.sqrt(5)
"""A cell is for so many times more or fewer rows than its own: half of the widest step between two of `ROWS`."""
MEASURED = ("benchmarks/", "commit ")
"""What the source of a cell that was measured starts with; any other source is a paper."""


@dataclass(frozen=True)
class Steps:
    """A whole number that follows from the number of rows.

    Attributes:
        steps: Of `optim.max_epochs`: steps of the run, about. Of `env.batch_size`: steps of an epoch, about.
        least: The least number.
        most: The largest number.
    """

    steps: int
    least: int
    most: int


@dataclass(frozen=True)
class Cell:
    """One value, where it holds, and where it comes from.

    Attributes:
        option: The dotted name of the option.
        value: What is chosen; `Steps` where it follows from the number of rows.
        source: A paper, or a benchmark: see `MEASURED`.
        n: Paired comparisons of the value with another; 0 for a paper.
        spread: Standard error of the mean paired difference, where there are two comparisons or more.
        rows: One of `ROWS`; None: any number.
        start: Where the head starts (`optim.head_init`), or `model.peft`; None: any of them.
        problem_type: The problem type; None: any.
    """

    option: str
    value: Any
    source: str
    n: int
    spread: float | None
    rows: int | None = None
    start: str | None = None
    problem_type: str | None = None

    @property
    def evidence(self) -> str:
        """The source in short, as reasons show it."""
        if not self.source.startswith(MEASURED):
            return self.source
        return f"benchmark, {counted(self.n, 'comparison') if self.n else 'not compared'}"


@dataclass(frozen=True)
class Family:
    """Models that rules treat alike.

    Attributes:
        name: Its name.
        when: What is true of these models, as reasons show it.
        like: The family whose cells hold where this one has none; None: it is general, and takes nothing from others.
        cells: Its own cells.
    """

    name: str
    when: str
    like: str | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Case:
    """What a value is asked for.

    Attributes:
        family: The family of the model, whether rules know it or not.
        general: The family whose cells hold where they do not.
        rows: Training rows.
        start: Where the head starts, or `model.peft`.
        problem_type: The problem type.
    """

    family: str
    general: str
    rows: int
    start: str
    problem_type: str


@dataclass(frozen=True)
class Rule:
    """What was found: the value, and why it holds, with its source."""

    value: Any
    why: str


@dataclass(frozen=True)
class Rules:
    """All cells.

    Attributes:
        families: By name.
        optimizers: Optimizer → how many times the rates of the cells it takes; 1 where it is not here.
    """

    families: Mapping[str, Family]
    optimizers: Mapping[str, Cell]

    def lineage(self, name: str) -> Iterator[Family]:
        """Yield a family, the one that it is like, and so on."""
        following: str | None = name
        while following is not None:
            family = self.families[following]
            yield family
            following = family.like

    def find(self, option: str, case: Case) -> Rule | None:
        """Return the value of the nearest cell, or None where no family that comes into question has one.

        Args:
            option: The dotted name of the option.
            case: What it is asked for.

        Example:
            >>> from thermocline.config.rules_file import load_rules
            >>> load_rules().find("optim.lr", Case("image CNN", "pretrained tower", 300, "lora", "binary"))
            Rule(value=0.001, why='a tower is pretrained, lora (benchmark, 1 comparison)')
        """
        name = case.family if case.family in self.families else case.general
        found = [
            (_distance(cell, case, depth), family, cell)
            for depth, family in enumerate(self.lineage(name))
            for cell in family.cells
            if cell.option == option and cell.problem_type in (None, case.problem_type)
        ]
        if not found:
            return None
        _, family, cell = min(found, key=lambda one: one[0])
        return Rule(cell.value, _why(cell, family, case, known=case.family in self.families))


def _distance(cell: Cell, case: Case, depth: int) -> tuple[float, ...]:
    """Return how far a cell is from a case, what weighs most first; `depth` counts families from the case's own."""
    return (
        cell.start not in (None, case.start),
        _is_far(cell, case),
        cell.start is None,
        cell.problem_type is None,
        depth,
        math.inf if cell.rows is None else _times(cell.rows, case),
    )


def _times(rows: int, case: Case) -> float:
    """Return how many times more or fewer rows a case has."""
    ratio = max(case.rows, 1) / rows
    return max(ratio, 1 / ratio)


def _is_far(cell: Cell, case: Case) -> bool:
    return cell.rows is not None and _times(cell.rows, case) > REACH


def _why(cell: Cell, family: Family, case: Case, *, known: bool) -> str:
    """Return when a cell holds, its source, and what it was taken in place of."""
    about = None if cell.rows is None else f"about {cell.rows:,} rows"
    holds = ", ".join(filter(None, (family.when, cell.problem_type, cell.start, about)))
    notes = []
    if family.name != case.family and not (known and family.like is None):
        notes.append(f"no rule for {case.family}: that of {family.name}")
    if cell.start not in (None, case.start):
        notes.append(f"no rule for {case.start}: that of {cell.start}")
    if cell.rows is not None and _is_far(cell, case):
        notes.append(f"no rule for {counted(case.rows, 'row')}: that of {cell.rows:,}")
    return "; ".join([f"{holds} ({cell.evidence})", *notes])
