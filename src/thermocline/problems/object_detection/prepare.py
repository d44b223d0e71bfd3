"""Checks of images and boxes that need no model, and the split: all that data and options alone can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.data.batches import Rows
from thermocline.data.columns import Column, Columns, infer_columns
from thermocline.data.splitting import split_boxes
from thermocline.errors import ConfigError, LabelError, listing
from thermocline.pipeline.prepare import drop_unreadable, image_root, placed
from thermocline.problems.object_detection.assemble import DetectionAssembly, assemble_detector, find_sources
from thermocline.problems.object_detection.boxes import CROWD, Boxes, read_boxes
from thermocline.problems.object_detection.frames import read_detection
from thermocline.problems.object_detection.scoring import DetectionScorer
from thermocline.problems.rowwise.task import Task
from thermocline.training.losses import of_detector

PRESET = "detection_medium"
"""What a detector is trained by where no preset is named."""


@dataclass(frozen=True)
class DetectionPrepared:
    """Checked and split images and boxes; the fields are those of `Prepared`.

    Attributes:
        train_boxes: The boxes of `train`.
        valid_boxes: Those of `valid`.
    """

    task: Task
    columns: Columns
    config: ResolvedConfig
    train: pd.DataFrame
    valid: pd.DataFrame
    folder: Path | None
    valid_folder: Path | None
    notes: tuple[str, ...]
    train_boxes: Boxes
    valid_boxes: Boxes

    def assembled(self, *, seed: int, weight: str | None) -> DetectionAssembly:
        """Assemble the model."""
        assert weight is None
        return assemble_detector(self.columns, self.task, self.config, rows=len(self.train), seed=seed)

    def rows(self, assembly: Any, *, seed: int) -> tuple[Rows, Rows]:
        """Turn the training and the validation frame into what the model is given."""
        train = assembly.rows(self.train, self.folder, boxes=self.train_boxes, training=True, seed=seed)
        return train, assembly.rows(self.valid, self.valid_folder, boxes=self.valid_boxes)

    def learning(self) -> dict[str, Any]:
        """Return what a run is given besides: the loss, and how the validation images are scored."""
        return {"objective": of_detector(), "scorer": partial(DetectionScorer, truths=self.valid_boxes.truths())}


@dataclass(frozen=True)
class _Read:
    """A frame with its boxes."""

    frame: pd.DataFrame
    folder: Path | None
    boxes: Boxes
    image: str
    notes: tuple[str, ...]


def prepare_detection(
    data: object,
    tuning_data: object,
    *,
    label: str | Sequence[str],
    problem_type: str | None,
    eval_metric: str | None,
    weight: str | None,
    column_types: Mapping[str, str] | None,
    config: ResolvedConfig,
    seed: int,
) -> DetectionPrepared:
    """Check images, boxes and options against each other, and split; arguments as in `preparation.prepare`.

    Raises:
        ThermoclineError: The data or an option cannot be used; the message says where and what to do.
    """
    assert problem_type == "object_detection"
    name = _checked_options(label, weight, config)
    image = _image_of(column_types, name)
    find_sources(config)
    config = placed(config)
    read = _read(data, name, image, config, "train_data")
    columns = _columns(read, name, column_types)
    notes = list(read.notes)
    if tuning_data is None:
        if _with_boxes(read.boxes) < 2:
            raise LabelError(
                f"Label {name!r} holds boxes in {_with_boxes(read.boxes)} of {len(read.frame)} rows. Training needs at "
                "least two images with boxes: one to learn from, one to validate. Add some, or give tuning_data."
            )
        fraction = config.data.valid_fraction
        train, valid, reason = split_boxes(read.boxes.labels, fraction, seed=seed)
        if fraction is None:
            config = config.choose("data.valid_fraction", round(len(valid) / len(read.frame), 4), reason)
        parts = (read.frame.iloc[train], read.frame.iloc[valid])
        boxes = (read.boxes.take(train), read.boxes.take(valid))
        folders, told = (read.folder, read.folder), reason
        classes = read.boxes.classes()
    else:
        held = _read(tuning_data, name, read.image, config, "tuning_data")
        if not _with_boxes(held.boxes):
            raise LabelError(f"Label {name!r} of tuning_data holds no box in any row: nothing can be validated.")
        classes = read.boxes.classes()
        held.boxes.encode(classes, what="tuning_data")
        parts, boxes, folders = (read.frame, held.frame), (read.boxes, held.boxes), (read.folder, held.folder)
        told, notes = "tuning_data", [*notes, *held.notes]
    task = Task.of_boxes(name, classes, eval_metric, _reason(read.boxes, classes))
    notes = [f"{len(parts[0])} images train, {len(parts[1])} validate ({told})", *notes]
    return DetectionPrepared(task, columns, config, *parts, *folders, tuple(notes), *boxes)


def _checked_options(label: str | Sequence[str], weight: str | None, config: ResolvedConfig) -> str:
    """Return the label column, after a look at options that are for other problems."""
    if not isinstance(label, str):
        raise ConfigError(f"The label of object_detection is one column of boxes, not {list(label)!r}.")
    if weight is not None:
        raise ConfigError(
            f"sample_weight {weight!r} is not for object_detection: a detector's loss is a mean over boxes. Leave it "
            "out; repeat rows that should count more."
        )
    if config.model.peft is not None:
        raise ConfigError(
            f"model.peft={config.model.peft!r} is for text and image backbones, not for detectors. Leave it out, and "
            "freeze layers instead: model.frozen_layers: backbone."
        )
    if config.env.compile:
        raise ConfigError("env.compile is not for detectors: their losses match boxes outside of torch. Set it false.")
    if config.optim.label_smoothing:
        raise ConfigError("optim.label_smoothing is not for detectors, which bring a loss of their own. Set it to 0.")
    return label


def _image_of(column_types: Mapping[str, str] | None, label: str) -> str | None:
    """Return the column that was said to hold the images."""
    if column_types is not None and not isinstance(column_types, Mapping):
        raise ConfigError(f"column_types maps a column to its type, such as {{'file': 'image'}}, not {column_types!r}.")
    given = dict(column_types or {})
    odd = {name: kind for name, kind in given.items() if kind not in ("image", "null")}
    if odd:
        raise ConfigError(
            f"column_types={odd!r}: a detector looks at images alone. Say 'image' of the column of images, and leave "
            "the others out ('null')."
        )
    if label in given:
        raise ConfigError(f"column_types gives a type to {label!r}, which is the label. Leave it out.")
    images = [name for name, kind in given.items() if kind == "image"]
    if len(images) > 1:
        raise ConfigError(
            f"column_types names {len(images)} columns of images, {listing(images)}; a detector takes one."
        )
    return images[0] if images else None


def _read(data: object, label: str, image: str | None, config: ResolvedConfig, what: str) -> _Read:
    """Read images and boxes; images that cannot be read are left out where they are few."""
    own = config.data
    found = read_detection(data, label, box_format=own.box_format, image=image, what=what)
    folder = image_root(config, found.folder)
    columns = Columns((Column(found.image, "image"),))
    frame, notes = drop_unreadable(found.frame, columns, folder, own.max_unreadable_images, what=what)
    boxes = read_boxes(
        frame, label, found.image, folder, box_format=found.box_format, bad_boxes=own.bad_boxes, what=what
    )
    return _Read(frame, folder, boxes, found.image, (*notes, *boxes.notes))


def _columns(read: _Read, label: str, given: Mapping[str, str] | None) -> Columns:
    """Return the column of images; all others are not used."""
    kinds = {name: "null" for name in read.frame.columns if name not in (label, f"{label}{CROWD}", read.image)}
    types = {**kinds, read.image: "image"} if given and read.image in given else kinds
    return infer_columns(read.frame, exclude=[label, f"{label}{CROWD}"], column_types=types)


def _with_boxes(boxes: Boxes) -> int:
    return sum(bool(labels) for labels in boxes.labels)


def _reason(boxes: Boxes, classes: Sequence[Any]) -> str:
    count = sum(len(labels) for labels in boxes.labels)
    empty = len(boxes) - _with_boxes(boxes)
    without = f", {empty} images without" if empty else ""
    spread = np.median([len(labels) for labels in boxes.labels])
    return f"{count} boxes of {len(classes)} classes in {len(boxes)} images, typically {spread:.0f}{without}"
