"""The target of object detection: boxes of some classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BoxTarget:
    """Boxes of some classes.

    Attributes:
        label: The column of boxes.
        classes: The classes in order.
        eval_metric: The metric that validation uses.
        reason: What is notable about the boxes.
    """

    label: str
    classes: tuple[Any, ...]
    eval_metric: str
    reason: str = ""

    @property
    def problem_type(self) -> str:
        """`object_detection`."""
        return "object_detection"

    @property
    def labels(self) -> tuple[str, ...]:
        """The column of boxes, as a tuple."""
        return (self.label,)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the fields that version 0.1 wrote for every kind, so that its runs resume."""
        return {
            "problem_type": self.problem_type,
            "label": self.label,
            "classes": list(self.classes),
            "dtypes": ["object"],
            "categories": None,
            "mean": 0.0,
            "std": 1.0,
            "eval_metric": self.eval_metric,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BoxTarget:
        """Inverse of `to_dict`."""
        return cls(values["label"], tuple(values["classes"]), values["eval_metric"], values["reason"])
