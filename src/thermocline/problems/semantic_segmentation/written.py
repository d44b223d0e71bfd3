"""Masks written as PNG files: their names, and that nothing is overwritten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from thermocline.errors import OutputExistsError, OutputWriteError, counted, listing
from thermocline.inputs.image.cells import path_of
from thermocline.inputs.image.pictures import Colour

if TYPE_CHECKING:
    from PIL.Image import Image


def mask_names(cells: Sequence[object], index: Sequence[object]) -> list[str]:
    """Return a file name for the mask of each image: its own name with `.png`, else the row's; each once."""
    stems = []
    for cell, label in zip(cells, index, strict=True):
        path = path_of(cell)
        stems.append(_plain(str(label)) if path is None else PurePath(path.replace("\\", "/")).stem)
    taken, names = set[str](), []
    for stem in stems:
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        names.append(f"{name}.png")
    return names


def writer(folder: Path, names: Sequence[str], colours: Sequence[Colour]) -> Callable[[int, np.ndarray], str]:
    """Return what writes the mask of a row, and returns its path.

    Args:
        folder: Where files are written; it is made.
        names: A file name for each row.
        colours: Of the numbers in masks, from 0 on, for programs that show palette images; the numbers stay.

    Raises:
        OutputExistsError: Files of these names are there.
        OutputWriteError: The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputWriteError(f"out={str(folder)!r} cannot be made: {error.strerror}. Name another folder.") from error
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise OutputExistsError(
            f"out={str(folder)!r} holds {counted(len(there), 'file')} that would be overwritten: "
            f"{listing(there, limit=3)}. Name another folder, or remove them."
        )

    def write(row: int, mask: np.ndarray) -> str:
        path = folder / names[row]
        try:
            _image_of(mask, colours).save(path)
        except OSError as error:
            raise OutputWriteError(f"{str(path)!r} cannot be written: {error}.") from error
        return str(path)

    return write


def _image_of(mask: np.ndarray, colours: Sequence[Colour]) -> Image:
    """Return a palette image, whose indices are the numbers of the mask; of larger numbers one of 16 bits."""
    from PIL import Image as pil

    image = pil.fromarray(mask)
    if mask.dtype == np.uint8 and colours:
        image.putpalette([part for colour in colours for part in colour])
    return image


def _plain(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text) or "mask"
