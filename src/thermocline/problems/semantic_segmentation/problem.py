"""A class for every pixel: images with masks, and any segmenter of transformers, or a light one on a timm backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.learning import Collector, Learning
from thermocline.contracts.problem import Assembly, Built, Problem
from thermocline.contracts.reporting import Results, Told
from thermocline.contracts.request import Request
from thermocline.contracts.showing import Answer, View
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns
from thermocline.data.splitting import split_note
from thermocline.errors import ConfigError, DataError, LabelError, counted
from thermocline.inputs.image.files import open_image, picture_key
from thermocline.inputs.image.grey_range import grey_range, warn_of_outside
from thermocline.problems.semantic_segmentation.collector import ConfusionCollector, MaskCollector
from thermocline.problems.semantic_segmentation.defaults import choose_defaults
from thermocline.problems.semantic_segmentation.drawing import class_colours, figure_of
from thermocline.problems.semantic_segmentation.info import INFO
from thermocline.problems.semantic_segmentation.masks import Masks, check_known, classes_of
from thermocline.problems.semantic_segmentation.metrics import PER_CLASS
from thermocline.problems.semantic_segmentation.model import SegmentationModel
from thermocline.problems.semantic_segmentation.objective import over_pixels, weights_of
from thermocline.problems.semantic_segmentation.options import SegmenterOptions
from thermocline.problems.semantic_segmentation.palette import NO_CLASS, Palette
from thermocline.problems.semantic_segmentation.reading import (
    check_arguments,
    read_frames,
    reason_of,
    segmented_columns,
    usable,
)
from thermocline.problems.semantic_segmentation.reporting import told
from thermocline.problems.semantic_segmentation.rows import SegmentationRows
from thermocline.problems.semantic_segmentation.segmenter_build import find_sources, segmenter_of
from thermocline.problems.semantic_segmentation.segmenter_layers import TOWER, layers_of
from thermocline.problems.semantic_segmentation.segmenter_saved import (
    checked_description,
    describe_segmenter,
    rebuild_segmenter,
)
from thermocline.problems.semantic_segmentation.split import split_masks
from thermocline.problems.semantic_segmentation.target import MaskTarget
from thermocline.problems.semantic_segmentation.views import mask_answer, mask_text, mask_views
from thermocline.problems.semantic_segmentation.written import mask_names, writer
from thermocline.registry import find_metric
from thermocline.registry.metrics import Metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 24  # images in one figure
PER_IMAGE = "grey"
"""The key of the range of grey values in what is saved."""


class SemanticSegmentation(Problem):
    """`semantic_segmentation`."""

    info = INFO

    # -- data

    def check_request(self, request: Request, config: ResolvedConfig) -> None:
        """Check arguments and options, and that the pretrained weights can be found."""
        check_arguments(request)
        Palette.of(config)
        if request.earlier is None:
            find_sources(config.section("model.segmenter", SegmenterOptions))

    def read(self, data: object, reading: Reading) -> Labelled:
        """Read images, and masks where they are needed."""
        return read_frames(data, reading)

    def find_columns(self, found: Labelled, request: Request) -> Columns:
        """Return the column of images; all others are not used."""
        return segmented_columns(found, request)

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Nothing is left to check: see `check_request`."""

    def keep_usable(self, found: Labelled, columns: Columns, reading: Reading) -> Labelled:
        """Leave out images that cannot be read, and check the masks."""
        return usable(found, columns, reading)

    def find_target(self, found: Labelled, request: Request) -> MaskTarget:
        """Return the classes of the masks."""
        masks: Masks = found.labels
        classes = classes_of(masks)
        if len(classes) < 2:
            raise LabelError(
                f"The masks in column {masks.label!r} have one class, {classes[0]!r}: there is nothing to tell apart. "
                "Give the background a number of its own, or set data.ignore_index=null if it is "
                f"{masks.palette.ignore}."
            )
        if request.tuning_data is None and len(set(_pictures(found, masks))) < 2:
            raise LabelError(
                f"{counted(len(masks), 'row')} of train_data {'is' if len(masks) == 1 else 'are'} of one picture. "
                "Training needs at least two: one to train on, one to validate. Add some, or give tuning_data."
            )
        values = masks.values if masks.palette.classes is None else tuple(range(len(classes)))
        metric = find_metric(INFO, request.eval_metric or INFO.default_metric[INFO.name], INFO.name)
        reason = reason_of(masks, len(classes))
        return MaskTarget(str(request.label), classes, values, masks.palette, metric.name, reason)

    def describe_labels(self, found: Labelled, target: MaskTarget) -> str:
        """Return the classes with their shares of pixels."""
        masks: Masks = found.labels
        shares = dict(zip(masks.values, masks.pixels / max(int(masks.pixels.sum()), 1), strict=True))
        named = [
            f"{label} {100 * shares.get(value, 0.0):.2g} %"
            for value, label in zip(target.values, target.classes, strict=True)
        ]
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        return f"shares of pixels: {', '.join(named[:8])}{more}"

    def check_labels(self, found: Labelled, target: MaskTarget, *, what: str) -> None:
        """Check that there are no classes that training data do not have."""
        check_known(found.labels, target.values, what=what)

    def split(
        self, found: Labelled, target: MaskTarget, fraction: float | None, *, seed: int
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Split images; every class stays in training."""
        del target
        masks: Masks = found.labels
        return split_masks(masks.present, _pictures(found, masks), fraction, seed=seed)

    def take(self, found: Labelled, rows: np.ndarray) -> Labelled:
        """Return some of the images, with their masks where they have been read."""
        masks: Masks | None = found.labels
        return replace(found, frame=found.frame.iloc[rows], labels=None if masks is None else masks.take(rows))

    def describe_split(self, train: Labelled, valid: Labelled, reason: str) -> str:
        """Return the note that says how many images train and how many validate."""
        return split_note(len(train), len(valid), "image", reason)

    # -- model

    def build(
        self, train: Labelled, columns: Columns, target: MaskTarget, config: ResolvedConfig, *, seed: int
    ) -> Built:
        """Build the segmenter for images of about the size of the training images."""
        del seed
        options = config.section("model.segmenter", SegmenterOptions)
        masks: Masks = train.labels
        height, width = (int(side) for side in np.median(masks.sizes, axis=0))
        segmenter = segmenter_of(options, target.classes, size_of_training_images=(height, width))
        model = SegmentationModel(segmenter)
        model.grey = grey_range(train.frame[columns.of("image")[0]].astype(object).tolist(), train.folder)
        size = segmenter.spec.size
        if options.size is None:
            config = config.choose("model.segmenter.size", max(size), f"training images of {width}×{height}")
        config = choose_defaults(config, pretrained=segmenter.pretrained, rows=len(train))
        notes = [f"segmenter: images of {size[1]}×{size[0]} pixels", *(f"segmenter: {one}" for one in segmenter.notes)]
        return Built(model, {}, layers_of(segmenter, options), config, tuple(notes))

    def rows(
        self, found: Labelled, assembly: Assembly, *, labelled: bool, training: bool = False, seed: int = 0
    ) -> Rows:
        """Turn a frame into images, with masks where it is labelled."""
        model, image = assembly.model, assembly.columns.of("image")[0]
        cells = tuple(found.frame[image].astype(object).tolist())
        if not training:
            warn_of_outside(list(cells), found.folder, model.grey, image)
        part = SegmentationRows(cells, found.frame.index, found.folder, model.segmenter.spec, model.grey)
        if labelled:
            part = part.with_masks(found.labels, assembly.target)
        if training:
            part = part.with_augmentation(assembly.config.section("model.segmenter", SegmenterOptions).augment, seed)
        return Rows({TOWER: part})

    def learning(self, assembly: Assembly, train: Rows, *, seed: int) -> Learning:
        """Return the cross entropy of pixels; there is no probe."""
        del seed
        power = assembly.config.section("model.segmenter", SegmenterOptions).class_balance
        weights = weights_of(_pixels_of_classes(train, assembly.target), power)
        started = assembly.built.started
        said = "as built, before any step" if started is None else f"as in {started.where!r}, before any step"
        return Learning(over_pixels(weights), start_note=said, also_score=("mean_iou", "pixel_accuracy"))

    # -- results

    def collector(self, assembly: Assembly, rows: Rows, found: Labelled, *, scoring: bool, **options: Any) -> Collector:
        """Return what counts pixels where they are scored, else what keeps masks or writes them."""
        del found
        part: Any = rows.parts[TOWER]
        if scoring:
            return ConfusionCollector(assembly.model, assembly.target, part.truth)
        out = options.get("out")
        write = None if out is None else self._writer(Path(out), part, assembly.target)
        return MaskCollector(assembly.model, assembly.target, len(rows), write)

    def _writer(self, folder: Path, part: SegmentationRows, target: MaskTarget) -> Any:
        count = max(target.values) + 1
        colours = class_colours(count) if count <= 256 else ()
        if target.palette.colors is not None:
            named = dict(target.palette.colors)
            colours = tuple(named[name] for name in target.classes)
        return writer(folder, mask_names(part.cells, part.index.tolist()), colours)

    def check_written(self, target: MaskTarget) -> None:
        """Masks can be written as files."""

    def predictions(self, outputs: Sequence[Any], target: MaskTarget, index: pd.Index[Any]) -> pd.Series[Any]:
        """Return for each row its mask, uint8 or uint16 `(height, width)`, or the path where it was written."""
        found = pd.Series(index=index, name=target.label, dtype=object)
        for place, one in enumerate(outputs):
            found.iat[place] = one
        return found

    def tell(self, assembly: Assembly, results: Results, metrics: Sequence[str | Metric]) -> Told:
        """Return the scores of each class, and which classes are taken for which."""
        del metrics
        return told(results.outputs, assembly.target)

    def check_probabilities(self, target: MaskTarget) -> None:
        """Raise: a row has a mask, and no probabilities."""
        del target
        raise ConfigError(
            "A segmenter gives no probabilities of a row: predict(data) has the class of every pixel. "
            "predictor.model(batch) has the logits."
        )

    def features(self, assembly: Assembly) -> Any:
        """Raise: a segmenter has no features of a whole image."""
        del assembly
        raise ConfigError("A segmenter gives no features of an image; fit a classifier on the image column to embed.")

    def check_metric(self, asked: str | Metric, target: MaskTarget) -> str | Metric:
        """Return the canonical name of a metric; `per_class` is one here."""
        return asked if asked == PER_CLASS else super().check_metric(asked, target)

    def check_drawable(self, target: MaskTarget) -> None:
        """Masks can be drawn."""

    def check_picture(self, found: Labelled, assembly: Assembly, **options: Any) -> None:
        """Check that there are some images, and not too many for a figure."""
        del assembly, options
        if not 0 < len(found) <= MOST_SHOWN:
            raise DataError(f"show draws 1 to {MOST_SHOWN} images, not {len(found)}: show(data.head()).")

    def picture(self, outputs: Sequence[np.ndarray], found: Labelled, assembly: Assembly) -> Figure:
        """Draw the masks over their images, with a legend."""
        images = self._images(found, assembly)
        codes = [_codes(mask, assembly.target) for mask in outputs]
        return figure_of(images, codes, [str(name) for name in found.frame.index], assembly.target.classes)

    def _images(self, found: Labelled, assembly: Assembly) -> list[Any]:
        cells = found.frame[assembly.columns.of("image")[0]]
        return [open_image(cell, found.folder, assembly.model.grey) for cell in cells]

    # -- for a person to look at

    def views(
        self, found: Labelled, assembly: Assembly, rows: Rows, positions: np.ndarray, epoch: int | None
    ) -> list[list[View]]:
        """Return the images as the segmenter reads them, under their masks where the rows have some."""
        del found
        part: Any = rows.parts[TOWER]
        return mask_views(assembly.columns.of("image")[0], part, assembly.target, positions, epoch)

    def label_texts(self, found: Labelled, assembly: Assembly) -> list[str]:
        """Return the classes of each mask with their shares of pixels."""
        masks: Masks = found.labels
        target: MaskTarget = assembly.target
        return [mask_text(target.encode(masks.open(row)), target) for row in range(len(masks))]

    def answers(self, outputs: Any, found: Labelled, assembly: Assembly, *, labelled: bool) -> list[Answer]:
        """Return the masks that are found, beside those of the labels, over their images."""
        target: MaskTarget = assembly.target
        truths = [target.encode(found.labels.open(row)) if labelled else None for row in range(len(found))]
        images = self._images(found, assembly)
        return [
            mask_answer(image, _codes(mask, target), truth, target)
            for image, mask, truth in zip(images, outputs, truths, strict=True)
        ]

    def check_importance(self, target: MaskTarget) -> None:
        """Raise: masks are found in one column."""
        raise ConfigError(
            f"importance compares columns, and a predictor of {target.problem_type} reads one, its images: all of the "
            "score is lost without it. Use show_results to see which pixels are wrong."
        )

    # -- a saved predictor

    def describe(self, assembly: Assembly, folder: Path) -> dict[str, Any]:
        """Return the description of the segmenter."""
        del folder
        model = assembly.model
        return {TOWER: describe_segmenter(model.segmenter), PER_IMAGE: model.grey}

    def read_target(self, described: Mapping[str, Any]) -> MaskTarget:
        """Return the target that was described."""
        return MaskTarget.from_dict(described)

    def rebuild(
        self,
        described: Mapping[str, Any],
        folder: Path,
        target: MaskTarget,
        config: ResolvedConfig,
        *,
        trust_remote_code: bool,
    ) -> tuple[SegmentationModel, Mapping[str, Any]]:
        """Build the saved segmenter."""
        del folder, target, config, trust_remote_code
        model = SegmentationModel(rebuild_segmenter(checked_description(described[TOWER])))
        grey = described.get(PER_IMAGE)
        model.grey = None if grey is None else (float(grey[0]), float(grey[1]))
        return model, {}


def _pixels_of_classes(rows: Rows, target: MaskTarget) -> list[int]:
    """Return how many pixels each class has in the masks of these rows."""
    part: Any = rows.parts[TOWER]
    found = dict(zip(part.masks.values, part.masks.pixels.tolist(), strict=True))
    return [found.get(value, 0) for value in target.values]


def _pictures(found: Labelled, masks: Masks) -> list[Any]:
    """Return what is equal for rows of the same picture."""
    return [picture_key(cell, found.folder) for cell in found.frame[masks.image].astype(object).tolist()]


def _codes(mask: np.ndarray, target: MaskTarget) -> np.ndarray:
    """Return positions of classes for a mask that `predict` gave."""
    codes: np.ndarray = target.encode(mask.astype(np.int64))
    assert (codes != NO_CLASS).all()
    return codes
