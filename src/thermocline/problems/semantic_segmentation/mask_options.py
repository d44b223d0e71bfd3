"""Options of how masks are read: part of section `data`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from thermocline.config.option import option

MaskColors: TypeAlias = Any
"""A mapping of class names to colours `[red, green, blue]`; `problems.semantic_segmentation.palette` reads it."""


@dataclass(frozen=True)
class MaskOptions:
    """How masks are read: part of section `data`."""

    ignore_index: int | None = option(
        255,
        "Value of pixels in masks of numbers that belong to no class; null: every value is a class.",
        at_least=0,
        at_most=65_535,
        varies=False,
    )
    mask_classes: tuple[str, ...] | None = option(
        None,
        "Names of the classes of masks of numbers, that of 0 first; null: the numbers that occur.",
        varies=False,
        example=("road", "car", "sky"),
    )
    mask_colors: MaskColors = option(
        None,
        "Class → colour `[red, green, blue]` of masks in colours; the name `ignore` is no class.",
        varies=False,
        example={"road": [128, 64, 128], "car": [0, 0, 142]},
    )
