"""COCO files of boxes as a frame: images, annotations and categories, every id checked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from thermocline.errors import DataError, counted, listing
from thermocline.problems.object_detection.boxes import CROWD
from thermocline.problems.object_detection.declared_sizes import size_column
from thermocline.problems.object_detection.image_places import posix

Record = Mapping[str, Any]
PARTS = ("images", "annotations", "categories")


def read_coco(path: Path, *, image: str, label: str | None) -> pd.DataFrame:
    """Return a COCO file of boxes as a frame, a row an image, indexed by image id.

    Boxes stay as COCO writes them, `[left, upper, width, height]`, with the category's name for a label: they are
    `xywh`. Boxes around crowds (`iscrowd`) come in a column of their own, named as the label with `_crowd` behind it,
    which is there only if there are some, and the width and height that the file says in one with `_image_size`. Images
    that no annotation names have no boxes, which is legal.

    Args:
        path: The file.
        image: Name of the image column: `file_name`, as it is written.
        label: Name of the column of boxes; None reads the images alone, and the file need not hold more.

    Raises:
        DataError: No COCO file of boxes; ids that are missing, twice there, or point nowhere; with the count and the
            first of each.
    """
    images, annotations, categories = _parts(path, PARTS if label else PARTS[:1])
    _raise(path, _malformed(images, annotations, categories))
    _raise(path, _inconsistent(images, annotations, categories))
    names = {category["id"]: category["name"] for category in categories}
    keys = [entry["id"] for entry in images]
    columns: dict[str, Any] = {image: [posix(entry["file_name"]) for entry in images]}
    index = pd.Index(keys, name="image_id")
    if label is None:
        return pd.DataFrame(columns, index=index)
    boxes: dict[Any, list[list[Any]]] = {key: [] for key in keys}
    crowds: dict[Any, list[list[Any]]] = {key: [] for key in keys}
    for entry in annotations:
        place = crowds if entry.get("iscrowd") else boxes
        place[entry["image_id"]].append([*entry["bbox"], names[entry["category_id"]]])
    columns[label] = [boxes[key] for key in keys]
    if any(crowds.values()):
        columns[f"{label}{CROWD}"] = [crowds[key] for key in keys]
    columns |= size_column(label, [(entry.get("width"), entry.get("height")) for entry in images])
    return pd.DataFrame(columns, index=index)


def _malformed(images: list[Record], annotations: list[Record], categories: list[Record]) -> list[str]:
    """Return faults of entries by themselves."""
    return [
        *_bad_entries("images", images, _is_image, "no id or file_name"),
        *_bad_entries("categories", categories, _is_category, "no id or name"),
        *_bad_entries("annotations", annotations, _is_annotation, "no image_id, category_id or bbox of a list"),
    ]


def _inconsistent(images: list[Record], annotations: list[Record], categories: list[Record]) -> list[str]:
    """Return ids and names that occur twice, and ids of nothing."""
    known = {entry["id"] for entry in images}
    named = {category["id"] for category in categories}
    return [
        *_twice("images", "id", images),
        *_twice("categories", "id", categories),
        *_twice("categories", "name", categories),
        *_twice("annotations", "id", [entry for entry in annotations if entry.get("id") is not None]),
        *_bad_entries("annotations", annotations, lambda a: a["image_id"] in known, "an image_id of no image"),
        *_bad_entries("annotations", annotations, lambda a: a["category_id"] in named, "a category_id of no category"),
    ]


def _parts(path: Path, wanted: tuple[str, ...]) -> tuple[list[Record], list[Record], list[Record]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{str(path)!r} cannot be read as JSON: {error}") from error
    given = data if isinstance(data, dict) else {}
    missing = [key for key in wanted if not isinstance(given.get(key), list)]
    if missing:
        has = f"It has {listing(given)}." if given else f"It holds a {type(data).__name__}."
        raise DataError(
            f"{str(path)!r} is no COCO file of boxes: it lacks the lists {listing(missing)}. {has} Other JSON can be "
            "read with pandas and passed as a DataFrame. Images alone are enough to predict."
        )
    if not data["images"]:
        raise DataError(f"{str(path)!r} lists no images.")
    images, annotations, categories = (data[key] if key in wanted else [] for key in PARTS)
    return images, annotations, categories


_ONE = {"images": "image", "categories": "category", "annotations": "annotation"}


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_image(entry: Any) -> bool:
    return isinstance(entry, dict) and _is_id(entry.get("id")) and isinstance(entry.get("file_name"), str)


def _is_category(entry: Any) -> bool:
    return isinstance(entry, dict) and _is_id(entry.get("id")) and isinstance(entry.get("name"), str)


def _is_annotation(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("bbox"), list):
        return False
    return _is_id(entry.get("image_id")) and _is_id(entry.get("category_id"))


def _bad_entries(part: str, entries: list[Record], good: Callable[[Any], bool], fault: str) -> list[str]:
    bad = [(place, entry) for place, entry in enumerate(entries) if not good(entry)]
    if not bad:
        return []
    shown = ", ".join(f"{part}[{place}]: {_short(entry)}" for place, entry in bad[:3])
    more = f" and {len(bad) - 3:,} more" if len(bad) > 3 else ""
    return [f"{counted(len(bad), _ONE[part], part)} with {fault} ({shown}{more})"]


def _twice(part: str, key: str, entries: list[Record]) -> list[str]:
    counts = Counter(entry[key] for entry in entries)
    twice = [value for value, count in counts.items() if count > 1]
    count = counted(len(twice), "value")
    return [f"{count} of {key} that several {part} share ({listing(twice, limit=3)})"] if twice else []


def _short(entry: Any) -> str:
    """Return an entry without what is long in it: outlines, mostly."""
    if isinstance(entry, dict):
        entry = {key: value for key, value in entry.items() if key not in ("segmentation", "keypoints")}
    return f"{entry!r:.160}"


def _raise(path: Path, faults: list[str]) -> None:
    if faults:
        raise DataError(f"The COCO file {str(path)!r} has {'; '.join(faults)}. Correct or take out these entries.")
