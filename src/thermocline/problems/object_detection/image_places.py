"""Where the images of a COCO file lie, by the layouts that such files come in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from thermocline.data.roots import Place

ANNOTATIONS = frozenset({"annotations", "annotation", "labels"})
IMAGES = ("images", "imgs", "img", "data", "JPEGImages")
_SPLITS = (("val", "valid", "validation", "dev"), ("train", "training"), ("test", "testing"))


def image_places(file: Path) -> tuple[Place, ...]:
    """Return the folders in which the images of a COCO file may lie, those of its own split first.

    Args:
        file: The file. `train/_annotations.coco.json` has its images beside it; `annotations/instances_train2017.json`
            has them in `train2017/`, `images/train2017/` or `images/`; `train.json` in `train/`, `images/`, or beside.
    """
    path = file.absolute()
    starts = [path.parent, *([path.resolve().parent] if path.is_symlink() else [])]
    found = {folder: None for start in starts for folder in _below(start, path.stem)}
    return tuple(Place.of(folder, "where COCO files have images") for folder in found)


def posix(name: str) -> str:
    """Return a file name with the separators of this system, where it was written under Windows."""
    return name if os.sep == "\\" else name.replace("\\", "/")


def _below(folder: Path, name: str) -> Iterator[Path]:
    tops, words = [folder], {name.lower(), *re.split(r"[\W_]+", name.lower())}
    for level in (folder, folder.parent):
        if level.name.lower() in ANNOTATIONS:
            tops.append(level.parent)
            words |= {part.lower() for part in folder.relative_to(level).parts}
    for top in tops:
        holders = [top, *(top / images for images in IMAGES)]
        yield from _of_split([one for one in holders if one.is_dir()], words)
        yield from (one for one in holders if one == folder or one.is_dir())


def _of_split(holders: list[Path], words: set[str]) -> list[Path]:
    """Return the subfolders that are named as the split that a file is of: `train2017`, else `train`."""
    folders = [folder for holder in holders for folder in _subfolders(holder)]
    exact = [one for one in folders if one.name.lower() in words]
    splits = {_split_of(word) for word in words} - {""}
    return [*exact, *(one for one in folders if one not in exact and _split_of(one.name.lower()) in splits)]


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:  # it may hold all the images: no look at each
        return sorted(folder / entry.name for entry in entries if entry.is_dir())


def _split_of(word: str) -> str:
    """Return the usual name of a split without the year: `val` of `valid` and `val2017`; empty for other words."""
    plain = word.rstrip("0123456789")
    return next((names[0] for names in _SPLITS if plain in names), "")
