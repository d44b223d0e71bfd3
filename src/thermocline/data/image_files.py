"""Images brought as files: a folder by class, a glob, one file, or a list of images."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from thermocline.data.image_cells import image_sort, image_suffixes, is_pil
from thermocline.data.other_files import TABLES, check_path, how_to_read
from thermocline.errors import DataError, counted, listing

FILE = "file"  # the name of the index of images that were found as files
NO_IMAGES = frozenset({*TABLES, ".json", ".jsonl"})
SPLITS = frozenset({"dev", "eval", "evaluation", "test", "testing", "train", "training", "val", "valid", "validation"})

OTHER, HIDDEN, UNSORTED = "file that is no image", "hidden file or folder", "image in no class folder"
_SKIPPED = {
    OTHER: "files that are no images",
    HIDDEN: "hidden files and folders",
    UNSORTED: "images in no class folder",
}


@dataclass(frozen=True)
class ImageFiles:
    """A frame of images that were brought as files.

    Attributes:
        frame: A column of images, and one of their classes where those are needed.
        folder: Where its relative paths start; None: the working folder.
        notes: What was left out.
    """

    frame: pd.DataFrame
    folder: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Naming:
    """The columns of a frame of images.

    Attributes:
        label: The column of classes; None: none is needed.
        image: The column of images.
        categories: Whether classes are categories, so that numbers in names are no quantities.
        what: The name of the data, for messages.
    """

    label: str | None
    image: str
    categories: bool = True
    what: str = "data"


def image_name(label: str | None) -> str:
    """Return the name of the column of images where nothing names it: `image`, or `picture` beside such a label."""
    return "image" if label != "image" else "picture"


def image_files(data: object, naming: Naming) -> ImageFiles | None:
    """Return the images that data name as files, or None where they are something else, such as a table.

    Classes are the names of the folders right below the given one, or of a glob's files the folder that each lies in.
    Hidden files and files that Pillow does not open are left out and counted in a note. Of a folder whose classes are
    not needed all images are taken, also those of its subfolders. The index holds the files' names, except of a list.

    Args:
        data: A folder; a glob such as `"photos/*/*.jpg"`; an image file; a PIL image; or a list of paths or images.
        naming: The columns of the frame.

    Raises:
        DataError: There are no images, or no folders by class where classes are needed.

    Example:
        A folder with `cat/1.png` and `dog/1.png` has the rows

            file        image       label
            cat/1.png   cat/1.png   cat
            dog/1.png   dog/1.png   dog
    """
    if isinstance(data, str | os.PathLike):
        check_path(os.fsdecode(data))
        return _of_path(Path(data).expanduser(), naming)
    cells = [data] if is_pil(data) else data
    if not isinstance(cells, list | tuple) or not any(map(image_sort, cells)):
        return None
    if not all(isinstance(cell, str | os.PathLike) or image_sort(cell) for cell in cells):
        return None
    return ImageFiles(pd.DataFrame({naming.image: pd.Series(list(cells), dtype=object)}))


def _of_path(path: Path, naming: Naming) -> ImageFiles | None:
    if path.is_dir():
        return _of_folder(path, naming)
    if glob.has_magic(str(path)) and path.suffix.lower() not in NO_IMAGES and not path.exists():
        return _of_glob(str(path), naming)
    if path.suffix.lower() in image_suffixes():
        return ImageFiles(_frame([path.name], None, naming), path.resolve().parent)
    return None


# -- folders ---------------------------------------------------------------------------------------


def _of_folder(folder: Path, naming: Naming) -> ImageFiles:
    images, skipped = _images_below(folder)
    if not images:
        raise DataError(
            f"{naming.what}: the folder {str(folder)!r} holds no image files ({_left_out(skipped)})."
            f"{how_to_read(folder, '')}"
        )
    if naming.label is None:
        return ImageFiles(_frame(images, None, naming), folder.resolve(), _notes(skipped, naming))
    inside = [name for name in images if len(PurePath(name).parts) > 1]
    classes = [PurePath(name).parts[0] for name in inside]
    _check_classes(folder, inside, classes, naming)
    skipped[UNSORTED] = len(images) - len(inside)
    without = {one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")} - set(classes)
    notes = [f"class folders without images: {listing(sorted(without))}"] if without else []
    return ImageFiles(_frame(inside, classes, naming), folder.resolve(), (*_notes(skipped, naming), *notes))


def _images_below(folder: Path) -> tuple[list[str], Counter[str]]:
    """Return the names of images relative to a folder, in order, and how many files were skipped, by reason."""
    skipped: Counter[str] = Counter()
    images: list[str] = []
    tops = [one for one in sorted(folder.iterdir()) if one.is_dir() and not one.name.startswith(".")]
    for top in [folder, *tops]:  # folders of classes may be links; what lies below them is not followed
        for place, folders, files in os.walk(top):
            skipped[HIDDEN] += sum(name.startswith(".") for name in folders)
            folders[:] = [] if top == folder else sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                reason = _reason_to_skip(name)
                if reason:
                    skipped[reason] += 1
                else:
                    images.append((Path(place) / name).relative_to(folder).as_posix())
    return images, skipped


def _reason_to_skip(name: str) -> str:
    if name.startswith("."):
        return HIDDEN
    return "" if PurePath(name).suffix.lower() in image_suffixes() else OTHER


def _check_classes(folder: Path, inside: Sequence[str], classes: Sequence[str], naming: Naming) -> None:
    """Check that the images lie in folders that can be classes."""
    if not inside:
        raise DataError(
            f"{naming.what}: the folder {str(folder)!r} holds images, but no folders by class. Put the images of each "
            "class into a folder of its name, or pass a table with a column of paths and one of labels."
            f"{how_to_read(folder, '')}"
        )
    names = sorted(set(classes))
    if {name.lower() for name in names} <= SPLITS:
        first = folder / next((name for name in names if name.lower().startswith("train")), names[0])
        raise DataError(
            f"{naming.what}: the folders {listing(names)} in {str(folder)!r} are splits, not classes. Pass one of "
            f"them, such as {str(first)!r}, and to fit another as tuning_data."
        )
    deeper = {PurePath(name).parts[1] for name in inside if len(PurePath(name).parts) > 2}
    if len(names) == 1 and deeper:
        raise DataError(
            f"{naming.what}: all images in {str(folder)!r} lie in the one folder {names[0]!r}, which would be the only "
            f"class. For the classes {listing(sorted(deeper))} pass {str(folder / names[0])!r}."
        )


# -- globs -----------------------------------------------------------------------------------------


def _of_glob(pattern: str, naming: Naming) -> ImageFiles:
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 - it may be absolute
    files = [path for path in found if path.is_file()]
    skipped: Counter[str] = Counter(reason for path in files if (reason := _reason_to_skip(path.name)))
    images = [path for path in files if not _reason_to_skip(path.name)]
    if not images:
        folders = len(found) - len(files)
        match = counted(folders, "folder matches", "folders match")
        hint = f" {match}; add '/*' for the files in them." if folders else ""
        raise DataError(
            f"{naming.what}: the glob {pattern!r} matches no image files ({_left_out(skipped)}).{hint} It starts at "
            f"{str(Path.cwd())!r} where it is relative."
        )
    base = Path(os.path.commonpath([path.absolute().parent for path in images]))
    names = [path.absolute().relative_to(base).as_posix() for path in images]
    classes = None if naming.label is None else [path.absolute().parent.name for path in images]
    return ImageFiles(_frame(names, classes, naming), base.resolve(), _notes(skipped, naming))


# -- what is returned ------------------------------------------------------------------------------


def _frame(names: Sequence[str], classes: Sequence[str] | None, naming: Naming) -> pd.DataFrame:
    columns: dict[str, Any] = {naming.image: pd.Series(list(names), dtype=object)}
    if classes is not None and naming.label is not None:
        label = pd.Series(list(classes), dtype=object)
        columns[naming.label] = label.astype("category") if naming.categories else label
    return pd.DataFrame(columns).set_axis(pd.Index(list(names), name=FILE, dtype=object), axis=0)


def _notes(skipped: Counter[str], naming: Naming) -> tuple[str, ...]:
    return (f"{naming.what}: left out {_left_out(skipped)}",) if skipped.total() else ()


def _left_out(skipped: Counter[str]) -> str:
    counts = [counted(skipped[one], one, several) for one, several in _SKIPPED.items() if skipped[one]]
    return ", ".join(counts) or "there are no files"
