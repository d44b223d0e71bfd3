"""Tuning data that were read with the images of the training data: their labels do not fit."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence

from thermocline.contracts.labelled import Labelled
from thermocline.errors import ThermoclineWarning, counted
from thermocline.inputs.image.cells import is_missing
from thermocline.inputs.image.files import picture_key
from thermocline.problems.rowwise.target import RowTarget


def warn_of_training_images(train: Labelled, valid: Labelled, target: RowTarget, images: Sequence[str]) -> None:
    """Warn where all images of tuning data are those of training rows, and some of these have other labels.

    Args:
        train: The training data.
        valid: The tuning data.
        target: What the label asks for.
        images: The columns of images.
    """
    if not images:
        return
    rows = {key: row for row, key in _pictures(valid, images)}
    known: dict[Hashable, list[int]] = {}
    for row, key in _pictures(train, images) if rows else ():
        known.setdefault(key, []).append(row)
    if not rows or not rows.keys() <= known.keys():
        return
    labels, own = target.encode(valid.frame), target.encode(train.frame)
    other = sum(
        labels[row].tobytes() not in {own[place].tobytes() for place in known[key]} for key, row in rows.items()
    )
    if other:
        warnings.warn(
            f"All images of tuning_data are images of train_data too, {other:,} of {counted(len(rows), 'image')} with "
            f"another label. Relative paths of tuning_data start at {str(valid.folder)!r}: put the images beside the "
            "table of tuning_data, or write absolute paths, if they are meant to be others.",
            ThermoclineWarning,
            stacklevel=5,
        )


def _pictures(found: Labelled, images: Sequence[str]) -> Iterator[tuple[int, Hashable]]:
    """Yield the rows that have images, with what is equal for the same ones."""
    columns = [found.frame[name].tolist() for name in images]
    for row, cells in enumerate(zip(*columns, strict=True)):
        if not all(is_missing(cell) for cell in cells):
            yield row, tuple(None if is_missing(cell) else picture_key(cell, found.folder) for cell in cells)
