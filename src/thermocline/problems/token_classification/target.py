"""The target of token classification: spans of some classes, as tags of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EntityTarget:
    """Entities of some classes.

    Tags are numbered `O`, then `B-` and `I-` of each class (Ramshaw and Marcus 1995, as IOB2).

    Attributes:
        label: The column of spans, or of tags.
        classes: The classes in order.
        eval_metric: The metric that validation uses.
        reason: What is notable about the labels.
        units: Where entities begin and end: `space`, `word` or `token`; see `units.chosen_units`.
    """

    label: str
    classes: tuple[Any, ...]
    eval_metric: str
    reason: str = ""
    units: str = "token"

    @property
    def problem_type(self) -> str:
        """`token_classification`."""
        return "token_classification"

    @property
    def labels(self) -> tuple[str, ...]:
        """The label column, as a tuple."""
        return (self.label,)

    @property
    def width(self) -> int:
        """Tags: one outside of entities, and two of each class."""
        return 1 + 2 * len(self.classes)

    @property
    def tags(self) -> tuple[str, ...]:
        """The names of the tags."""
        return ("O", *(f"{prefix}-{label}" for label in self.classes for prefix in "BI"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"problem_type": self.problem_type, **asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EntityTarget:
        """Inverse of `to_dict`."""
        return cls(values["label"], tuple(values["classes"]), values["eval_metric"], values["reason"], values["units"])
