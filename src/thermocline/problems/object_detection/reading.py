"""Images and boxes: read from frames, COCO files and Pascal VOC folders, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.request import Request
from thermocline.data.columns import Column, Columns, infer_columns
from thermocline.data.frames import check_columns, check_frame, check_names, read_frame
from thermocline.data.image_files import Naming, image_files
from thermocline.data.row_names import first_rows
from thermocline.errors import ConfigError, DataError, ImageReadError, LabelError, counted, listing
from thermocline.inputs.image.files import picture_key
from thermocline.inputs.image.reading import located, readable_rows
from thermocline.problems.object_detection.boxes import CROWD, Boxes, read_boxes
from thermocline.problems.object_detection.declared_sizes import SIZE
from thermocline.problems.object_detection.frames import is_annotated, read_annotated, read_detection
from thermocline.problems.object_detection.options import BoxFormat, BoxOptions
from thermocline.problems.object_detection.same_pictures import check_repeats


@dataclass(frozen=True)
class BoxColumn:
    """Where boxes are that are not read yet.

    Attributes:
        image: The column of images.
        box_format: How the boxes are written.
    """

    image: str
    box_format: BoxFormat


def check_arguments(request: Request) -> None:
    """Check arguments that are for other problems.

    Raises:
        ConfigError: One of them is set.
    """
    if not isinstance(request.label, str):
        raise ConfigError(f"The label of object_detection is one column of boxes, not {request.label!r}.")
    if request.weight is not None:
        raise ConfigError(
            f"sample_weight {request.weight!r} is not for object_detection: a detector's loss is a mean over boxes. "
            "Leave it out; repeat rows that should count more."
        )
    given_image(request)


def given_image(request: Request) -> str | None:
    """Return the column that column types say holds the images, or None.

    Raises:
        ConfigError: Column types that a detector does not take.
    """
    given = request.column_types
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"column_types maps a column to its type, such as {{'file': 'image'}}, not {given!r}.")
    types = dict(given or {})
    odd = {name: kind for name, kind in types.items() if kind not in ("image", "null")}
    if odd:
        raise ConfigError(
            f"column_types={odd!r}: a detector looks at images alone. Say 'image' of the column of images, and leave "
            "the others out ('null')."
        )
    if request.label in types:
        raise ConfigError(f"column_types gives a type to {request.label!r}, which is the label. Leave it out.")
    images = [name for name, kind in types.items() if kind == "image"]
    if len(images) > 1:
        raise ConfigError(
            f"column_types names {len(images)} columns of images, {listing(images)}; a detector takes one."
        )
    return images[0] if images else None


def read_labelled(data: object, reading: Reading) -> Labelled:
    """Read images and a column of boxes; for a fit the boxes themselves are read by `usable`.

    Raises:
        DataError: Data that cannot be read, no column of images, or (where they are scored) boxes that cannot be used.
    """
    config, columns = reading.config, reading.columns
    image = given_image(reading.request) if columns is None else columns.of("image")[0]
    label, written = str(reading.request.label), config["data.box_format"]
    found = read_detection(data, label, box_format=written, image=image, what=reading.what, roots=reading.roots)
    labelled = Labelled(found.frame, labels=BoxColumn(found.image, found.box_format), roots=found.roots)
    if reading.for_fit:
        return labelled
    check_columns(found.frame, [found.image], what=reading.what)
    if not len(found.frame):
        raise DataError(f"{reading.what} is empty: there is nothing to score.")
    labelled = located(labelled, [found.image], reading)
    boxes = boxes_of(labelled, label, reading)
    return replace(labelled, labels=boxes, notes=boxes.notes)


def read_unlabelled(data: object, reading: Reading) -> Labelled:
    """Read images in which objects are to be found; the label may be absent.

    Raises:
        DataError: A column is missing, or a row has no image.
    """
    assert reading.columns is not None
    image, what = reading.columns.of("image")[0], reading.what
    notes: tuple[str, ...] = ()
    path = Path(data).expanduser() if isinstance(data, str | Path) else None
    if path is not None and is_annotated(path):
        frame, roots = read_annotated(path, image=image, label=None, roots=reading.roots)
    else:
        files = image_files(data, Naming(None, image, what=what))
        frame, folder = read_frame(data) if files is None else (files.frame, files.folder)
        check_names(frame, what=what)
        check_columns(frame, [image], what=what)
        if len(frame):
            check_frame(frame[[image]], what=what)
        roots = reading.roots.beside(data, folder)
        notes = files.notes if files is not None else ()
    return located(Labelled(frame, notes=notes, roots=roots), [image], reading)


def check_images(frame: pd.DataFrame, image: str, what: str) -> None:
    """Check that every row has an image.

    Raises:
        ImageReadError: Some have none.
    """
    missing = frame[image].isna().to_numpy(dtype=bool)
    if missing.any():
        raise ImageReadError(
            f"Column {image!r} of {what} has no image in {int(missing.sum())} of {len(frame)} rows: "
            f"{first_rows(frame.index, missing)}. Drop these rows, or fill them in."
        )


def usable(found: Labelled, reading: Reading) -> Labelled:
    """Return the rows whose images can be read, with their boxes read and checked.

    Raises:
        ImageReadError: More unreadable images than the options allow.
        LabelError: Boxes that cannot be used.
    """
    column: BoxColumn = found.labels
    found = located(found, [column.image], reading)
    images = Columns((Column(column.image, "image"),))
    most = reading.config.data.max_unreadable_images
    rows, notes = readable_rows(found.frame, images, found.folder, most, what=reading.what)
    frame = found.frame if rows is None else found.frame.iloc[rows]
    kept = replace(found, frame=frame)
    boxes = boxes_of(kept, str(reading.request.label), reading)
    return replace(kept, labels=boxes, notes=(*notes, *boxes.notes))


def boxes_of(found: Labelled, label: str, reading: Reading) -> Boxes:
    """Read the boxes of a frame, and compare them with what else is said of its images.

    Raises:
        LabelError: Boxes that cannot be used; images of another size than their annotations say; rows of one image that
            say different things of it.
    """
    column: BoxColumn = found.labels
    options = BoxOptions(column.box_format, reading.config["data.bad_boxes"])
    frame, folder = found.frame, found.folder
    boxes = read_boxes(frame, label, column.image, folder, options, what=reading.what)
    cells = frame[column.image].astype(object).tolist()
    boxes = replace(boxes, pictures=tuple(picture_key(cell, folder) for cell in cells))
    check_repeats(boxes, cells, what=reading.what)
    return boxes


def image_columns(found: Labelled, request: Request) -> Columns:
    """Return the column of images as such; all others are not used."""
    column: BoxColumn = found.labels
    label, given = str(request.label), request.column_types
    own = [label, f"{label}{CROWD}", f"{label}{SIZE}"]
    kinds = {name: "null" for name in found.frame.columns if name not in (*own, column.image)}
    types = {**kinds, column.image: "image"} if given and column.image in given else kinds
    return infer_columns(found.frame, exclude=own, column_types=types)


def with_boxes(boxes: Boxes) -> int:
    """Return how many images have boxes."""
    return sum(bool(labels) for labels in boxes.labels)


def check_enough(boxes: Boxes) -> None:
    """Check that there are boxes for training and for validation.

    Raises:
        LabelError: Fewer than two images have some.
    """
    count = len({key for key, labels in zip(boxes.pictures, boxes.labels, strict=True) if labels})
    if count < 2:
        raise LabelError(
            f"Label {boxes.label!r} holds boxes of {counted(count, 'image')}, in {len(boxes)} rows. Training needs at "
            "least two images with boxes: one to train on, one to validate. Add some, or give tuning_data."
        )


def reason_of(boxes: Boxes, classes: Sequence[object]) -> str:
    """Return what is notable about the boxes."""
    count = sum(len(labels) for labels in boxes.labels)
    empty = len(boxes) - with_boxes(boxes)
    without = f", {empty} images without" if empty else ""
    spread = np.median([len(labels) for labels in boxes.labels])
    return f"{count} boxes of {len(classes)} classes in {len(boxes)} images, typically {spread:.0f}{without}"
