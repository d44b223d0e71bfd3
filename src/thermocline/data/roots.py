"""Where the relative file names of one source of data start: at one folder for all of them, found by one rule."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.row_names import first_rows
from thermocline.errors import ConfigError, ImageReadError, counted

TABLE = "the table's own folder"
_OPTION = "data.image_folder"


@dataclass(frozen=True)
class Place:
    """A folder in which files may lie.

    Attributes:
        folder: The folder, absolute.
        why: What it is, for messages.
    """

    folder: Path
    why: str

    @classmethod
    def of(cls, folder: str | os.PathLike[str], why: str) -> Place:
        """Return a folder as it is seen from the working folder now, `~` expanded.

        Raises:
            ConfigError: It is blank, or the user behind `~` is not there.
        """
        if not str(folder).strip():
            raise ConfigError(f"{why}={str(folder)!r} names no folder. Give one, or leave it out.")
        try:
            return cls(Path(folder).expanduser().absolute(), why)
        except RuntimeError:
            raise ConfigError(f"{why}={str(folder)!r}: there is no such user. Write the path without ~.") from None

    def absent(self, names: Iterable[str]) -> list[str]:
        """Return the names of which there is no file below this folder."""
        folder = str(self.folder)
        return [name for name in names if not os.path.isfile(os.path.join(folder, name))]  # noqa: PTH113, PTH118 - fast


@dataclass(frozen=True)
class Roots:
    """Where the files of one source of data may lie: training data, tuning data, or what is predicted.

    A folder that the caller names for this source is the only one. Else the source's own folders are tried, then
    others, the working folder last. Files are never taken from two folders: the first that holds any of them has to
    hold all.

    Attributes:
        advice: What to do about files that are not found, for messages.
        named: The folder that the caller names for this source.
        own: The folder of the table, or those in which the layout of annotation files has images.
        others: Tried after these, before the working folder.
    """

    advice: str = "Correct the paths."
    named: Place | None = None
    own: tuple[Place, ...] = ()
    others: tuple[Place, ...] = ()

    @classmethod
    def of_training(cls, image_folder: str | None) -> Roots:
        """Return those of training data.

        Args:
            image_folder: `data.image_folder`, which names their folder.
        """
        advice = f"Name their folder with {_OPTION}, or correct the paths."
        return cls(advice, named=None if image_folder is None else Place.of(image_folder, _OPTION))

    @classmethod
    def of_tuning(cls, image_folder: str | None) -> Roots:
        """Return those of tuning data.

        Args:
            image_folder: `data.image_folder`, tried after the folder of the tuning data themselves.
        """
        advice = f"Put them beside the table of tuning_data or below {_OPTION}, or write absolute paths."
        others = () if image_folder is None else (Place.of(image_folder, f"{_OPTION}, of the training data"),)
        return cls(advice, others=others)

    @classmethod
    def of_use(cls, image_folder: object) -> Roots:
        """Return those of data that are predicted, scored, embedded or shown.

        Args:
            image_folder: What the caller named, or None.

        Raises:
            ConfigError: It is no folder.
        """
        advice = "Name their folder: predict(data, image_folder='…'), evaluate(…) and the others alike, on the command "
        return cls(f"{advice}line --image-folder. Or correct the paths.", named=_named(image_folder))

    def beside(self, data: object, folder: Path | None) -> Roots:
        """Return the same with the folder of a table.

        Args:
            data: The table as it was given; the folder of a link comes before that of the file it leads to.
            folder: The folder of its file, or None where it is none.
        """
        if folder is None:
            return self
        own = [Place.of(folder, TABLE)]
        if isinstance(data, str | os.PathLike) and (link := Path(data).expanduser()).is_symlink():
            own.insert(0, Place.of(link.parent, TABLE))
        return replace(self, own=tuple(own))

    @property
    def places(self) -> tuple[Place, ...]:
        """The folders in the order in which they are tried."""
        return (self.named,) if self.named is not None else self._unnamed

    @property
    def _unnamed(self) -> tuple[Place, ...]:
        places = (*self.own, *self.others, Place(Path.cwd(), "the working folder"))
        folders = [place.folder for place in places]
        return tuple(place for number, place in enumerate(places) if place.folder not in folders[:number])

    def find(
        self, names: Sequence[Sequence[str]], index: pd.Index[Any], *, what: str, most: float = 0.0
    ) -> Path | None:
        """Return the folder that the names start at, or None where there are no names.

        Args:
            names: For each row the relative file names in it.
            index: The frame's index, for messages.
            what: The name of the data, for messages.
            most: The share of rows that may name a file that is nowhere.

        Raises:
            ImageReadError: No folder has the files; the message lists those that were tried, and how many each has.
        """
        wanted = list(dict.fromkeys(name for row in names for name in row))
        if not wanted:
            return None
        tried = ((place, place.absent(wanted)) for place in self.places)
        place, absent = next((one for one in tried if len(one[1]) < len(wanted)), (self.places[0], wanted))
        if not absent:
            return place.folder
        gone = set(absent)
        first = [next((name for name in row if name in gone), None) for row in names]
        rows = np.array([name is not None for name in first], dtype=bool)
        elsewhere = any(len(one.absent(absent)) < len(absent) for one in self.places if one is not place)
        if not elsewhere and not rows.all() and rows.sum() <= most * len(rows):
            return place.folder
        where = f"Not below {str(place.folder)!r}" if len(absent) < len(wanted) else "Not there"
        verb = "names" if rows.sum() == 1 else "name"
        raise ImageReadError(
            f"{int(rows.sum()):,} of {counted(len(rows), 'row')} of {what} {verb} image files "
            f"that are not there. Relative paths in {what} all start at one folder; of "
            f"{counted(len(wanted), 'file')} there are {self._held(wanted)}. "
            f"{where}: {first_rows(index, rows, first)}. {self.advice}"
        )

    def _held(self, wanted: list[str]) -> str:
        """Say of each folder how many files it has; where the caller named one, of others that have some as well."""
        parts = []
        for place in dict.fromkeys((*self.places, *self._unnamed)):
            found = len(wanted) - len(place.absent(wanted))
            if found or place in self.places:
                there = "" if place.folder.is_dir() else ", which is no folder"
                parts.append(f"{found:,} below {str(place.folder)!r} ({place.why}{there})")
        return ", ".join(parts)


def _named(image_folder: object) -> Place | None:
    if image_folder is None:
        return None
    if not isinstance(image_folder, str | os.PathLike):
        raise ConfigError(f"image_folder is the folder of the images, as text or a pathlib.Path, not {image_folder!r}.")
    place = Place.of(image_folder, "image_folder")
    if not place.folder.is_dir():
        raise ConfigError(f"image_folder={str(image_folder)!r} is no folder: {str(place.folder)!r} is not there.")
    return place
