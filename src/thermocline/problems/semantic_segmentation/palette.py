"""What the values of a mask stand for: numbers, with names or without, or colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermocline.config import ResolvedConfig
from thermocline.errors import ConfigError, counted

IGNORE = "ignore"
"""The name among `data.mask_colors` that is no class."""
NO_CLASS = -1
"""The number of pixels that belong to no class."""
_MOST_COLORS = 4096


@dataclass(frozen=True)
class Palette:
    """What the values of masks stand for.

    Attributes:
        ignore: The number that is no class, of masks of numbers; None: there is none.
        names: Of masks of numbers the names of the classes from 0 on; None: the numbers are the classes.
        colors: Of masks in colours each name with its colour; None: masks hold numbers.
    """

    ignore: int | None = 255
    names: tuple[str, ...] | None = None
    colors: tuple[tuple[str, tuple[int, int, int]], ...] | None = None

    @classmethod
    def of(cls, config: ResolvedConfig) -> Palette:
        """Return what the options say.

        Raises:
            ConfigError: Names that occur twice, or colours that are none.
        """
        names, given = config["data.mask_classes"], config["data.mask_colors"]
        if given is not None and names is not None:
            raise ConfigError(
                "data.mask_classes names the numbers in masks, data.mask_colors the colours: give one of both."
            )
        if names is not None:
            names = tuple(str(name) for name in names)
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice or not names:
                raise ConfigError(
                    f"data.mask_classes={list(names)!r}: "
                    + (f"{twice[0]!r} is there twice." if twice else "there is no class.")
                    + " Name each class once, that of the number 0 first."
                )
        return cls(config["data.ignore_index"], names, None if given is None else _read_colors(given))

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes that are named, in order; None where the numbers that occur are the classes."""
        if self.colors is None:
            return self.names
        return tuple(name for name, _ in self.colors if name != IGNORE)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        colors = None if self.colors is None else [[name, list(color)] for name, color in self.colors]
        return {"ignore": self.ignore, "names": None if self.names is None else list(self.names), "colors": colors}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Palette:
        """Inverse of `to_dict`."""
        names, colors = values["names"], values["colors"]
        return cls(
            values["ignore"],
            None if names is None else tuple(names),
            None if colors is None else tuple((name, (color[0], color[1], color[2])) for name, color in colors),
        )

    def of_colors(self, pixels: np.ndarray) -> np.ndarray:
        """Return the class numbers of colours, int32 `(height, width)`; `NO_CLASS` for `ignore`.

        Args:
            pixels: uint8 `(height, width, 3)`.

        Raises:
            ValueError: Colours that are none of the palette; the message names them.
        """
        assert self.colors is not None
        assert self.classes is not None
        place = {name: number for number, name in enumerate(self.classes)} | {IGNORE: NO_CLASS}
        packed = _packed(pixels.reshape(-1, 3))
        found, inverse = np.unique(packed, return_inverse=True)
        known = {int(_packed(np.array([color], np.uint8))[0]): place[name] for name, color in self.colors}
        other = [int(value) for value in found if int(value) not in known]
        if other:
            shown = ", ".join(f"[{value >> 16}, {value >> 8 & 255}, {value & 255}]" for value in other[:3])
            more = f" and {len(other) - 3:,} more" if len(other) > 3 else ""
            raise ValueError(
                f"{counted(len(other), 'colour')} that {'is' if len(other) == 1 else 'are'} not in data.mask_colors: "
                f"{shown}{more}"
            )
        numbers = np.array([known[int(value)] for value in found], dtype=np.int32)
        return numbers[inverse].reshape(pixels.shape[:2])


def _packed(colors: np.ndarray) -> np.ndarray:
    """Return colours uint8 `(n, 3)` as numbers int64 `(n,)`."""
    wide = colors.astype(np.int64)
    packed: np.ndarray = wide[:, 0] << 16 | wide[:, 1] << 8 | wide[:, 2]
    return packed


def _read_colors(given: Any) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    """Return names with their colours.

    Raises:
        ConfigError: No mapping of names to three numbers from 0 to 255, each colour once.
    """
    form = "data.mask_colors maps class names to colours, such as {'road': [128, 64, 128]}"
    if not isinstance(given, Mapping) or not given or len(given) > _MOST_COLORS:
        raise ConfigError(f"{form}, not {given!r}.")
    colors, seen = [], dict[tuple[int, ...], str]()
    for name, color in given.items():
        numbers = list(color) if isinstance(color, list | tuple) else []
        if len(numbers) != 3 or not all(type(one) is int and 0 <= one <= 255 for one in numbers):
            raise ConfigError(f"{form}. The colour of {name!r} is {color!r}, not three whole numbers from 0 to 255.")
        red, green, blue = numbers
        before = seen.setdefault((red, green, blue), str(name))
        if before != str(name):
            raise ConfigError(f"{form}. {before!r} and {name!r} have the same colour {numbers}.")
        colors.append((str(name), (red, green, blue)))
    if all(name == IGNORE for name, _ in colors):
        raise ConfigError(f"{form}. {IGNORE!r} is no class, and there is no other.")
    return tuple(colors)
