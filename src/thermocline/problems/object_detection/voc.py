"""Folders of Pascal VOC boxes as a frame: an XML file an image, and splits as lists of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pandas as pd

from thermocline.data.roots import Place, Roots
from thermocline.errors import DataError, did_you_mean, listing
from thermocline.problems.object_detection.declared_sizes import size_column

ANNOTATIONS, IMAGES, SPLITS = "Annotations", "JPEGImages", "ImageSets"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".JPG", ".JPEG", ".PNG")


class _Annotated(NamedTuple):
    """What an annotation file says: the image's file name, its boxes, its width and height."""

    file: str
    boxes: list[list[Any]]
    size: tuple[Any, Any]


def is_voc(path: Path) -> bool:
    """Whether a path is a folder of Pascal VOC boxes, or the list of one of its splits."""
    if path.is_dir():
        return (path / ANNOTATIONS).is_dir()
    return path.suffix == ".txt" and SPLITS in path.parts[:-1]


def read_voc(path: Path, *, image: str, label: str | None, roots: Roots) -> tuple[pd.DataFrame, Roots]:
    """Return a Pascal VOC folder as a frame, a row an image, indexed by name, and where its images may lie.

    Boxes are `xyxy` as the files have them. Those marked `difficult` or `truncated` are boxes like any other. An image
    without objects has no boxes, which is legal. The width and height that the files say are in a column of their own.

    Args:
        path: The folder that holds `Annotations`, for all its images; or a list of names in its `ImageSets`, such as
            `ImageSets/Main/train.txt`, for these.
        image: Name of the image column.
        label: Name of the column of boxes; None reads the images alone, which then need no annotations.
        roots: Where images may lie besides `JPEGImages` and the folder itself.

    Raises:
        DataError: Files that are missing or cannot be read, with the count and the first of them.
    """
    root, names = _names(path)
    faults: dict[str, str] = {}
    rows: dict[str, _Annotated] = {}
    for name in names:
        try:
            rows[name] = _read(root / ANNOTATIONS / f"{name}.xml")
        except (OSError, ValueError, ElementTree.ParseError) as error:
            if label is None and isinstance(error, FileNotFoundError):
                rows[name] = _Annotated("", [], (None, None))
                continue
            faults[name] = "no such file" if isinstance(error, FileNotFoundError) else str(error)
    if faults:
        shown = "; ".join(f"{ANNOTATIONS}/{name}.xml: {why}" for name, why in list(faults.items())[:3])
        more = f" and {len(faults) - 3:,} more" if len(faults) > 3 else ""
        raise DataError(
            f"{len(faults):,} of {len(names):,} annotation files below {str(root)!r} cannot be read: {shown}{more}."
        )
    folders = [folder for folder in (root / IMAGES, root / "images", root, root / ANNOTATIONS) if folder.is_dir()]
    roots = replace(roots, own=tuple(Place.of(folder, "where VOC folders have images") for folder in folders))
    columns: dict[str, Any] = {image: _image_names({name: rows[name].file for name in names}, roots)}
    if label is not None:
        columns[label] = [rows[name].boxes for name in names]
        columns |= size_column(label, [rows[name].size for name in names])
    return pd.DataFrame(columns, index=pd.Index(names, name="name")), roots


def _names(path: Path) -> tuple[Path, list[str]]:
    """Return the folder that holds `Annotations`, and the images' names without extension."""
    if path.is_dir():
        names = sorted(file.stem for file in (path / ANNOTATIONS).glob("*.xml"))
        if not names:
            raise DataError(f"The folder {str(path / ANNOTATIONS)!r} holds no .xml file.")
        return path, names
    root = next(parent.parent for parent in path.parents if parent.name == SPLITS)
    if not path.is_file():
        near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"The file {str(path)!r} does not exist.{near}")
    # lists of one class (`cat_train.txt`) say 1 or -1 behind each name: whether the class is in the image
    names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice or not names:
        raise DataError(f"{str(path)!r} " + (f"lists {listing(twice)} more than once." if twice else "lists no image."))
    return root, names


def _read(file: Path) -> _Annotated:
    root = ElementTree.parse(file).getroot()
    if root.tag != "annotation":
        raise ValueError(f"its root is <{root.tag}>, not <annotation>")
    boxes = [_box(item, place) for place, item in enumerate(root.iter("object"))]
    given = (root.findtext("filename") or "").strip()
    name = given.replace("\\", "/").rpartition("/")[2]  # some tools write the path on the machine they ran on
    return _Annotated(name, boxes, (root.findtext("size/width"), root.findtext("size/height")))


def _box(item: ElementTree.Element, place: int) -> list[Any]:
    found = item.find("bndbox")
    if found is None:
        raise ValueError(f"object {place} has no <bndbox>")
    texts = [(edge, (found.findtext(edge) or "").strip()) for edge in _EDGES]
    try:
        edges = [float(text) for _, text in texts]
    except ValueError:
        raise ValueError(f"object {place} has a <bndbox> of {listing(texts)}, which are not four numbers") from None
    return [*edges, (item.findtext("name") or "").strip()]


def _image_names(given: Mapping[str, str], roots: Roots) -> list[str]:
    """Return the images' file names, as they are in the first folder that holds any of them."""
    first: list[str] = []
    for place in roots.places:
        files = [_image_name(stem, name, place.folder) for stem, name in given.items()]
        if len(place.absent(files)) < len(files):
            return files
        first = first or files
    return first


def _image_name(stem: str, given: str, folder: Path) -> str:
    """Return the image's file name: as given where that is there, else the annotation's own name with an extension."""
    names = (name for name in (given, *(stem + suffix for suffix in _SUFFIXES)) if name)
    return next((name for name in names if (folder / name).is_file()), given or f"{stem}.jpg")
