"""Frames of images and masks: read, checked, and their columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.request import Request
from thermocline.data.columns import Columns, infer_columns
from thermocline.data.label_columns import check_there
from thermocline.errors import ConfigError, DataError, LabelError, listing
from thermocline.inputs.image.files import relative_name
from thermocline.inputs.image.reading import located, readable_rows
from thermocline.inputs.labelled_frames import read_rows
from thermocline.problems.semantic_segmentation.masks import Masks, read_masks
from thermocline.problems.semantic_segmentation.palette import Palette


def check_arguments(request: Request) -> None:
    """Check arguments that are for other problems.

    Raises:
        ConfigError: One of them is set.
    """
    if not isinstance(request.label, str):
        raise ConfigError(f"The label of semantic_segmentation is one column of masks, not {request.label!r}.")
    if request.weight is not None:
        raise ConfigError(
            f"sample_weight {request.weight!r} is not for semantic_segmentation: its loss is a mean over pixels. Leave "
            "it out; repeat rows that should count more."
        )
    given = request.column_types
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"column_types maps a column to its type, such as {{'file': 'image'}}, not {given!r}.")
    odd = {name: kind for name, kind in (given or {}).items() if kind not in ("image", "null")}
    if odd:
        raise ConfigError(
            f"column_types={odd!r}: a segmenter looks at images alone. Say 'image' of the column of images, and leave "
            "the others out ('null')."
        )
    if given is not None and request.label in given:
        raise ConfigError(
            f"column_types gives a type to {request.label!r}, which is the label. Leave it out; if it is the column of "
            "images, name the column of masks as the label."
        )


def read_frames(data: object, reading: Reading) -> Labelled:
    """Read images, and the column of masks where it is needed; masks of a fit are read by `usable`.

    Raises:
        DataError: Data that cannot be read, or a column that is missing.
        LabelError: Where they are scored: masks that cannot be used.
    """
    found = read_rows(data, reading)
    label = str(reading.request.label)
    if reading.for_fit:
        check_there(found.frame, (label,), what=reading.what)
        return found
    if reading.purpose == "predict":
        return found
    assert reading.columns is not None
    return with_masks(found, reading.columns.of("image")[0], reading)


def segmented_columns(found: Labelled, request: Request) -> Columns:
    """Return the column of images as such; all others are not used.

    Raises:
        DataError: There is none, or there are several.
    """
    label, given = str(request.label), dict(request.column_types or {})
    columns = infer_columns(found.frame, exclude=[label], column_types=given)
    images = columns.of("image")
    if len(images) > 1:
        raise DataError(
            f"train_data has {len(images)} columns of images besides the label {label!r}: {listing(images)}. Drop all "
            "but one, or say which is not used: column_types={'name': 'null'}."
        )
    if not images:
        held = listing([f"{column.name}: {column.reason}" for column in columns]) or "there is only the label"
        raise DataError(
            "train_data has no column of images (paths, bytes, PIL images or arrays) apart from the masks in "
            f"{label!r}: {held}."
        )
    others = {name: "null" for name in found.frame.columns if name not in (label, images[0])}
    return infer_columns(found.frame, exclude=[label], column_types={**given, **others})


def usable(found: Labelled, columns: Columns, reading: Reading) -> Labelled:
    """Return the rows whose images can be read, with their masks checked.

    Raises:
        ImageReadError: More unreadable images than the options allow.
        LabelError: Masks that cannot be used.
    """
    image = columns.of("image")[0]
    found = located(found, [image], reading)
    most = reading.config.data.max_unreadable_images
    rows, notes = readable_rows(found.frame, columns, found.folder, most, what=reading.what)
    kept = found if rows is None else replace(found, frame=found.frame.iloc[rows])
    return replace(with_masks(kept, image, reading), notes=(*found.notes, *notes))


def with_masks(found: Labelled, image: str, reading: Reading) -> Labelled:
    """Return the same rows with their masks, which start where relative paths of images do.

    Raises:
        LabelError: The masks are the images, or cannot be used.
    """
    label = str(reading.request.label)
    cells, images = found.frame[label].astype(object).tolist(), found.frame[image].astype(object).tolist()
    same = [row for row, pair in enumerate(zip(cells, images, strict=True)) if _same(*pair)]
    if same:
        raise LabelError(
            f"Row {found.frame.index[same[0]]} of {reading.what} has one file as image and as mask: {cells[same[0]]!r} "
            f"in columns {image!r} and {label!r}. Give each image its mask."
        )
    folder = found.folder
    if folder is None and any(relative_name(cell) is not None for cell in cells):
        folder = located(found, [label], reading).folder
    masks = read_masks(found.frame, label, image, folder, Palette.of(reading.config), what=reading.what)
    return replace(found, labels=masks)


def _same(mask: object, image: object) -> bool:
    name = relative_name(mask) or (mask if isinstance(mask, str) else None)
    return name is not None and name == (relative_name(image) or image)


def reason_of(masks: Masks, classes: int) -> str:
    """Return what is notable about the masks."""
    none = 1.0 - masks.pixels.sum() / max(float(masks.sizes.prod(axis=1).sum()), 1.0)
    without = f", {100 * none:.2g} % of their pixels without a class" if none > 0.0005 else ""
    height, width = (int(side) for side in sorted(masks.sizes.tolist())[len(masks) // 2])
    return f"masks of {classes} classes for {len(masks)} images, typically {width}×{height}{without}"
