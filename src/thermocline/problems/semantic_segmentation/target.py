"""The target of semantic segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from thermocline.problems.semantic_segmentation.palette import NO_CLASS, Palette


@dataclass(frozen=True)
class MaskTarget:
    """A class for every pixel.

    Attributes:
        label: The column of masks.
        classes: The classes in order: numbers as masks hold them, or names.
        values: The number that each class has in masks that are read.
        palette: What the values of masks stand for.
        eval_metric: The metric that validation uses.
        reason: What is notable about the masks.
    """

    label: str
    classes: tuple[Any, ...]
    values: tuple[int, ...]
    palette: Palette
    eval_metric: str
    reason: str = ""

    @property
    def problem_type(self) -> str:
        """`semantic_segmentation`."""
        return "semantic_segmentation"

    @property
    def labels(self) -> tuple[str, ...]:
        """The column of masks, as a tuple."""
        return (self.label,)

    @cached_property
    def _code_of_value(self) -> np.ndarray:
        codes = np.full(max(self.values) + 2, NO_CLASS, dtype=np.int64)  # the last is that of NO_CLASS
        codes[list(self.values)] = np.arange(len(self.values))
        return codes

    def encode(self, mask: np.ndarray) -> np.ndarray:
        """Return positions of classes int64, `NO_CLASS` where there is none, for values of a mask.

        Args:
            mask: int32 `(height, width)`, as `read_mask` returns it; its values are among `values`, or `NO_CLASS`.
        """
        return np.asarray(self._code_of_value[mask])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the numbers that masks hold, for positions of classes: uint8 where they are below 256, else uint16.

        With names or colours these are the positions of the classes.
        """
        dtype = np.uint8 if max(self.values) < 256 else np.uint16
        found: np.ndarray = np.asarray(self.values, dtype=dtype)[codes]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "problem_type": self.problem_type,
            "label": self.label,
            "classes": list(self.classes),
            "values": list(self.values),
            "palette": self.palette.to_dict(),
            "eval_metric": self.eval_metric,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MaskTarget:
        """Inverse of `to_dict`."""
        palette = Palette.from_dict(values["palette"])
        numbers = tuple(int(value) for value in values["values"])
        return cls(values["label"], tuple(values["classes"]), numbers, palette, values["eval_metric"], values["reason"])
