"""Boxes of images: read from a column and checked against the images' own sizes.

A box is float32 `[x1, y1, x2, y2]` in the image's own pixels: the left, upper, right and lower edge, so that a box
over a whole image is `[0, 0, width, height]`. A box that reaches over the edge is cut to the image and counted. One
that cannot be a box is an error, or left out and counted where `bad_boxes` says so.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.frames import check_columns
from thermocline.data.label_columns import check_there
from thermocline.data.row_names import first_rows
from thermocline.data.values import is_broken
from thermocline.errors import LabelError, ThermoclineWarning, counted, listing
from thermocline.inputs.image.header_size import image_sizes
from thermocline.problems.object_detection.box_cells import RawBoxes, read_cells
from thermocline.problems.object_detection.declared_sizes import check_sizes
from thermocline.problems.object_detection.options import BoxFormat, BoxOptions

CROWD = "_crowd"  # after the label's name: the column of boxes around crowds, which COCO marks
NOT_FINITE = "not finite"
INVERTED = "inverted"
NO_AREA = "zero area"
OUTSIDE = "outside the image"
_DEFAULTS = BoxOptions()
_SHARES = (
    "If they are shares of their image's width and height, multiply them by these: boxes are in pixels, from a corner "
    "(YOLO files have the centre)."
)
_ROUNDING = 0.01  # pixels over the edge that come from rounding: COCO writes two decimals


@dataclass(frozen=True)
class Boxes:
    """The checked boxes of a frame, a row an image.

    Attributes:
        label: The name of the column.
        index: The frame's index.
        boxes: For each row its boxes, float32 `(boxes, 4)`, xyxy in the image's own pixels.
        labels: For each row the label of each box.
        crowd: For each row which boxes are around a crowd: never trained on, and not counted as missed in evaluation.
        sizes: Height and width of each image, int64 `(rows, 2)`.
        notes: Which boxes were cut or left out, and what looks wrong with them.
        pictures: What is equal for rows of the same picture, where that was looked at.
    """

    label: str
    index: pd.Index[Any]
    boxes: tuple[np.ndarray, ...]
    labels: tuple[tuple[Any, ...], ...]
    crowd: tuple[np.ndarray, ...]
    sizes: np.ndarray
    notes: tuple[str, ...] = ()
    pictures: tuple[Hashable, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    def classes(self) -> tuple[Any, ...]:
        """Return the classes in order; boxes around crowds count as well.

        Raises:
            LabelError: No boxes at all, or labels that have no order.
        """
        counts = Counter(label for row in self.labels for label in row)
        if not counts:
            raise LabelError(f"Label {self.label!r} holds no box in any of {len(self):,} rows: nothing can be learned.")
        broken = [label for label in counts if isinstance(label, str) and is_broken(label)]
        if broken:
            raise LabelError(
                f"The boxes of label {self.label!r} have class names with half a surrogate pair, which cannot be "
                f"written: {listing(broken)}. Rename them."
            )
        try:
            return tuple(sorted(counts))
        except TypeError:
            types = sorted({type(label).__name__ for label in counts})
            raise LabelError(
                f"The boxes of label {self.label!r} mix class labels of types {listing(types)}, which have no order. "
                "Give them one type."
            ) from None

    def encode(self, classes: Sequence[Any], *, what: str = "the data") -> tuple[np.ndarray, ...]:
        """Return for each row the class number of each box, int64 `(boxes,)`.

        Raises:
            LabelError: Classes that training did not see, with the count and the first rows.
        """
        codes = {label: number for number, label in enumerate(classes)}
        encoded = tuple(np.array([codes.get(label, -1) for label in row], dtype=np.int64) for row in self.labels)
        unseen = Counter(label for row in self.labels for label in row if label not in codes)
        if unseen:
            rows = np.array([(row < 0).any() for row in encoded], dtype=bool)
            values = [[label for label in row if label not in codes] for row in self.labels]
            raise LabelError(
                f"Label {self.label!r} of {what} holds boxes of {listing(unseen)}, which training never saw: "
                f"{counted(unseen.total(), 'box', 'boxes')} in {counted(int(rows.sum()), 'row')}: "
                f"{first_rows(self.index, rows, values)}. "
                f"Known: {listing(classes)}. Take these boxes out, or fit on data that has them."
            )
        return encoded

    def truths(self) -> list[list[dict[str, Any]]]:
        """Return for each row its boxes as `{label, box, crowd}`: what `coco_scores` and `draw` take."""
        return [
            [
                {"label": label, "box": [float(edge) for edge in box], "crowd": bool(flag)}
                for label, box, flag in zip(labels, boxes, crowd, strict=True)
            ]
            for labels, boxes, crowd in zip(self.labels, self.boxes, self.crowd, strict=True)
        ]

    def take(self, rows: np.ndarray) -> Boxes:
        """Return some of the rows, by position, in that order."""
        return Boxes(
            self.label,
            self.index[rows],
            tuple(self.boxes[row] for row in rows),
            tuple(self.labels[row] for row in rows),
            tuple(self.crowd[row] for row in rows),
            self.sizes[rows],
            self.notes,
            tuple(self.pictures[row] for row in rows) if self.pictures else (),
        )


@dataclass(frozen=True)
class _UsableBoxes:
    """The usable boxes of one column.

    Attributes:
        row: The row of each, int64 `(boxes,)`.
        edges: float32 `(boxes, 4)`, xyxy.
        labels: The label of each.
        notes: What was cut or left out.
    """

    row: np.ndarray
    edges: np.ndarray
    labels: list[Any]
    notes: tuple[str, ...]


def read_boxes(
    frame: pd.DataFrame,
    label: str,
    image: str,
    folder: Path | None,
    options: BoxOptions = _DEFAULTS,
    *,
    what: str = "train_data",
) -> Boxes:
    """Return the boxes of a frame, checked against the sizes that the image files say.

    A column named as the label with `_crowd` behind it holds boxes around crowds; one with `_image_size` the width and
    height that the images are said to have.

    Args:
        frame: The rows.
        label: The column of boxes.
        image: The column of images.
        folder: Where relative image paths start.
        options: How boxes are written, and whether those that are none are an error or left out with a warning.
        what: The name of the frame, for messages.

    Raises:
        MissingColumnError: The label or image column is absent.
        ImageReadError: Images that are missing or cannot be read.
        LabelError: Cells that hold no boxes, or boxes that cannot be used, with count, rows and values; images of
            another size than they are said to have.
    """
    check_there(frame, (label,), what=what)
    check_columns(frame, [image], what=what)
    where = f"{what}: column {image!r}"
    cells = frame[image].astype(object).tolist()
    sizes = image_sizes(cells, frame.index, folder, where=where)
    check_sizes(frame, label, cells, folder, sizes, what=what)
    found = [_usable_boxes(frame[label], sizes, options, what=what)]
    if f"{label}{CROWD}" in frame.columns:
        found.append(_usable_boxes(frame[f"{label}{CROWD}"], sizes, options, what=what, missing_ok=True))
    for note in (note for one in found for note in one.notes):
        warnings.warn(note, ThermoclineWarning, stacklevel=2)
    return _by_row(label, frame.index, sizes, found)


def _by_row(label: str, index: pd.Index[Any], sizes: np.ndarray, found: Sequence[_UsableBoxes]) -> Boxes:
    """Return the boxes of the label's column, and of that of crowds if there is one, row by row."""
    edges = np.concatenate([one.edges for one in found])
    labels = [text for one in found for text in one.labels]
    flags = np.repeat([False, True][: len(found)], [len(one.edges) for one in found])
    row = np.concatenate([one.row for one in found])
    order = np.argsort(row, kind="stable")
    places = np.split(order, np.cumsum(np.bincount(row, minlength=len(index)))[:-1])
    return Boxes(
        label=label,
        index=index,
        boxes=tuple(edges[place] for place in places),
        labels=tuple(tuple(labels[i] for i in place) for place in places),
        crowd=tuple(flags[place] for place in places),
        sizes=sizes,
        notes=tuple(note for one in found for note in one.notes),
    )


def _usable_boxes(
    series: pd.Series[Any], sizes: np.ndarray, options: BoxOptions, *, what: str, missing_ok: bool = False
) -> _UsableBoxes:
    """Return the usable boxes of a column, cut to their images."""
    raw, notes = read_cells(series, what=what, missing_ok=missing_ok), []
    edges = raw.coordinates.copy()
    with np.errstate(invalid="ignore", over="ignore"):  # boxes that are not finite are faults below
        if options.box_format == "xywh":
            edges[:, 2:] += edges[:, :2]
        inside = np.clip(edges, 0.0, np.tile(sizes[raw.row][:, ::-1], 2)).astype(np.float32)
        fault = _faults(raw, edges, inside)
    bad = fault != ""
    where = f"Label {series.name!r} of {what} holds"
    shares = len(bad) > 1 and bool(((raw.coordinates >= 0) & (raw.coordinates <= 1)).all())
    if shares and not missing_ok:
        notes.append(f"{where} {counted(len(bad), 'box', 'boxes')} that all lie inside 1 × 1 pixel. {_SHARES}")
    if bad.any():
        shown = _shown_faults(series, raw, fault)
        message = f"{where} {counted(int(bad.sum()), 'box', 'boxes')} that cannot be used, of {len(bad):,}: {shown}."
        if options.bad_boxes == "error":
            raise LabelError(f"{message} {_SHARES if shares else _advice(fault, options.box_format)}")
        notes.append(f"{message} {'It is' if bad.sum() == 1 else 'They are'} left out (data.bad_boxes: drop).")
    over = ~bad
    over[over] = (np.abs(edges[over] - inside[over]) > _ROUNDING).any(axis=1)
    if over.any():
        first, one = _first(series.index, raw, over), int(over.sum()) == 1
        notes.append(
            f"{where} {counted(int(over.sum()), 'box', 'boxes')}, of {len(bad):,}, that "
            f"{'reaches' if one else 'reach'} over "
            f"the edge of {'its' if one else 'their'} image: {first}. {'It is' if one else 'They are'} cut to it."
        )
    labels = [label for label, wrong in zip(raw.labels, bad, strict=True) if not wrong]
    return _UsableBoxes(raw.row[~bad], inside[~bad], labels, tuple(notes))


def _faults(raw: RawBoxes, edges: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return what is wrong with each box, or an empty text: the first that holds."""
    spans, left = edges[:, 2:] - edges[:, :2], inside[:, 2:] - inside[:, :2]
    written = raw.fault != ""
    fault = raw.fault.copy()
    checks = (
        (NOT_FINITE, ~np.isfinite(edges).all(axis=1)),
        (INVERTED, (spans < 0).any(axis=1)),
        (NO_AREA, (spans == 0).any(axis=1)),
        (OUTSIDE, ~(left > 0).all(axis=1)),
    )
    for name, holds in checks:
        fault[holds & (fault == "") & ~written] = name
    return fault


def _shown_faults(series: pd.Series[Any], raw: RawBoxes, fault: np.ndarray) -> str:
    kinds = Counter(kind for kind in fault if kind)
    return "; ".join(f"{count:,} {kind} ({_first(series.index, raw, fault == kind)})" for kind, count in kinds.items())


def _first(index: pd.Index[Any], raw: RawBoxes, mask: np.ndarray) -> str:
    """Return the first boxes that a mask marks: row, place in the cell (from 0), and what is written there."""
    found = np.flatnonzero(mask)
    rows = [first_rows(index, np.arange(len(index)) == raw.row[i]) for i in found[:3]]
    parts = [f"{row}, box {raw.place[i]}: {raw.written[i]!r:.120}" for row, i in zip(rows, found, strict=False)]
    return ", ".join(parts) + (f" and {len(found) - 3:,} more" if len(found) > 3 else "")


def _advice(fault: np.ndarray, box_format: BoxFormat) -> str:
    other = "xywh" if box_format == "xyxy" else "xyxy"
    kinds = set(fault) & {INVERTED, OUTSIDE}
    hint = f" If they are {other}, set data.box_format: {other}." if kinds else ""
    corners = "left, upper, right and lower edge" if box_format == "xyxy" else "left and upper edge, width and height"
    return (
        f"A box is [{corners}, label] in pixels of its image (data.box_format: {box_format}).{hint} Correct them, or "
        "set data.bad_boxes: drop to leave them out."
    )
