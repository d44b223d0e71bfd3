"""Data and labels as a kind of problem reads them, and what labels ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.contracts.request import Request
from thermocline.data.columns import Columns
from thermocline.data.roots import Roots

Purpose: TypeAlias = Literal["train", "validate", "score", "predict"]


@dataclass(frozen=True)
class Labelled:
    """A frame and its labels as one kind of problem reads them.

    Attributes:
        frame: The rows.
        folder: Where relative paths start, once it was found; None where there are none.
        labels: Labels that were read apart from the frame's columns (boxes), or None.
        notes: What a user should know of the reading.
        roots: Where they may start: from these `folder` is found as soon as the columns of images are known.
    """

    frame: pd.DataFrame
    folder: Path | None = None
    labels: Any = None
    notes: tuple[str, ...] = ()
    roots: Roots = field(default_factory=Roots)

    def __len__(self) -> int:
        return len(self.frame)


class Target(Protocol):
    """What the label asks for, fitted to the training rows. A frozen dataclass."""

    @property
    def problem_type(self) -> str:
        """The problem type, such as `binary`."""

    @property
    def label(self) -> str | tuple[str, ...]:
        """The label column, or several."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All label columns: what is no feature."""

    @property
    def eval_metric(self) -> str:
        """The canonical name of the metric that validation uses."""

    @property
    def reason(self) -> str:
        """Why this problem type, and what is notable about the labels."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `Problem.read_target` is the inverse."""


@dataclass(frozen=True)
class Reading:
    """Which data are read, and what they have to hold.

    Attributes:
        what: The name of the data in messages: `train_data`, `tuning_data`, `data`.
        purpose: What they are read for. `train` and `validate` belong to a fit; all but `predict` need labels.
        request: Label, weight, column types as they were given.
        config: The configuration.
        columns: The columns that have to be there; None for training data, which decide them.
        roots: Where relative paths in these data may start, but for the folders of the data themselves.
    """

    what: str
    purpose: Purpose
    request: Request
    config: ResolvedConfig
    columns: Columns | None = None
    roots: Roots = field(default_factory=Roots)

    @property
    def for_fit(self) -> bool:
        """Whether a fit reads them."""
        return self.purpose in ("train", "validate")
