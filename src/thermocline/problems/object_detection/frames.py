"""A frame of images and boxes, read from a DataFrame, a table file, a COCO file or a Pascal VOC folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from thermocline.data.columns import infer_columns
from thermocline.data.frames import check_frame, read_frame
from thermocline.data.image_files import image_name
from thermocline.data.label_columns import check_there
from thermocline.data.roots import Roots
from thermocline.errors import DataError, did_you_mean, listing
from thermocline.problems.object_detection.boxes import CROWD
from thermocline.problems.object_detection.coco import read_coco
from thermocline.problems.object_detection.declared_sizes import SIZE
from thermocline.problems.object_detection.image_places import image_places
from thermocline.problems.object_detection.options import BoxFormat
from thermocline.problems.object_detection.voc import ANNOTATIONS, is_voc, read_voc


@dataclass(frozen=True)
class DetectionFrame:
    """A frame of images and boxes.

    Attributes:
        frame: The rows.
        image: Its column of images.
        label: Its column of boxes.
        roots: Where relative image paths may start.
        box_format: How the boxes are written.
    """

    frame: pd.DataFrame
    image: str
    label: str
    roots: Roots
    box_format: BoxFormat


def read_detection(
    data: object,
    label: str,
    *,
    box_format: BoxFormat = "xyxy",
    image: str | None = None,
    what: str = "train_data",
    roots: Roots | None = None,
) -> DetectionFrame:
    """Return images and boxes as a frame.

    Args:
        data: A DataFrame, or a path: to a CSV or parquet file; to a COCO file (.json); to a Pascal VOC folder, for all
            its images, or to a list in its `ImageSets`, for these.
        label: The column of boxes; COCO and VOC boxes are put into a column of that name.
        box_format: How a frame's boxes are written; COCO's are `xywh` and VOC's `xyxy`, whatever this says.
        image: The column of images; None: the only one that holds images.
        what: The name of the data, for messages.
        roots: Where images may lie besides the folders of the data themselves.

    Raises:
        DataError: Data that cannot be read, or that has not one column of images.
        MissingColumnError: The frame has no column of that label.
    """
    path = Path(data).expanduser() if isinstance(data, str | Path) else None
    roots = roots or Roots()
    if path is not None and is_annotated(path):
        name = image or image_name(label)
        frame, roots = read_annotated(path, image=name, label=label, roots=roots)
        return DetectionFrame(frame, name, label, roots, "xyxy" if is_voc(path) else "xywh")
    if path is not None and path.is_dir():
        raise DataError(
            f"The folder {str(path)!r} has no subfolder {ANNOTATIONS!r}, so it is no Pascal VOC folder. "
            f"{what} is a DataFrame, a CSV or parquet file, a COCO file (.json) or a Pascal VOC folder."
        )
    frame, folder = read_frame(data)
    check_frame(frame, what=what)
    check_there(frame, (label,), what=what)
    column = image or image_column(frame, label, what=what)
    return DetectionFrame(frame, column, label, roots.beside(data, folder), box_format)


def is_annotated(path: Path) -> bool:
    """Whether a path is a COCO file or a Pascal VOC folder or split, by its name."""
    return path.suffix.lower() == ".json" or is_voc(path)


def read_annotated(path: Path, *, image: str, label: str | None, roots: Roots) -> tuple[pd.DataFrame, Roots]:
    """Return the images of a COCO file or a Pascal VOC folder as a frame, and where they may lie.

    Args:
        path: The file or folder.
        image: Name of the image column.
        label: Name of the column of boxes; None reads the images alone.
        roots: Where images may lie besides the folders that such files have them in.

    Raises:
        DataError: What cannot be read.
    """
    if is_voc(path):
        return read_voc(path, image=image, label=label, roots=roots)
    if not path.is_file():
        near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"The file {str(path)!r} does not exist.{near}")
    return read_coco(path, image=image, label=label), replace(roots, own=image_places(path))


def image_column(frame: pd.DataFrame, label: str, *, what: str = "train_data") -> str:
    """Return the one column that holds images.

    Raises:
        DataError: None does, or several do.
    """
    columns = infer_columns(frame, exclude=[label, f"{label}{CROWD}", f"{label}{SIZE}"])
    images = [column.name for column in columns if column.kind == "image"]
    if len(images) == 1:
        return images[0]
    if images:
        raise DataError(f"{what} has {len(images)} columns of images: {listing(images)}. Drop all but one.")
    held = listing([f"{column.name}: {column.reason}" for column in columns])
    raise DataError(
        f"{what} has no column of images (paths, bytes, PIL images or arrays) apart from {label!r}: {held}."
    )
