"""Boxes in images: any detector of transformers, on frames of boxes, COCO files and Pascal VOC folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.contracts.exporting import ExportForm
from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.learning import Learning
from thermocline.contracts.problem import Assembly, Built, Problem
from thermocline.contracts.reporting import Redrawn, Results, Told
from thermocline.contracts.request import Request
from thermocline.contracts.showing import Answer, View
from thermocline.contracts.starting import Earlier
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns
from thermocline.data.splitting import split_note
from thermocline.errors import ConfigError, DataError, LabelError, counted, listing
from thermocline.inputs.image.files import open_image
from thermocline.inputs.image.grey_range import grey_range, warn_of_outside
from thermocline.inputs.image.pictures import show_grid
from thermocline.problems.object_detection.boxes import Boxes
from thermocline.problems.object_detection.class_names import check_alike
from thermocline.problems.object_detection.collector import MOST_BOXES, PER_CLASS, BoxCollector, Found
from thermocline.problems.object_detection.defaults import choose_defaults
from thermocline.problems.object_detection.detector import Detector
from thermocline.problems.object_detection.detector_saved import (
    checked_description,
    describe_detector,
    rebuild_detector,
)
from thermocline.problems.object_detection.detector_spec import write_processor
from thermocline.problems.object_detection.drawing import draw
from thermocline.problems.object_detection.export_form import box_form, with_outputs
from thermocline.problems.object_detection.info import INFO
from thermocline.problems.object_detection.model import TOWER, DetectionModel, detector_of, find_sources, layers_of
from thermocline.problems.object_detection.objective import over_boxes
from thermocline.problems.object_detection.options import DetectorOptions
from thermocline.problems.object_detection.reading import (
    check_arguments,
    check_enough,
    check_images,
    image_columns,
    read_labelled,
    read_unlabelled,
    reason_of,
    usable,
    with_boxes,
)
from thermocline.problems.object_detection.reporting import BoxResults, row_report, told
from thermocline.problems.object_detection.rows import DetectionRows
from thermocline.problems.object_detection.same_pictures import check_apart
from thermocline.problems.object_detection.split import split_boxes
from thermocline.problems.object_detection.starting import detector_from, options_as_before
from thermocline.problems.object_detection.target import BoxTarget
from thermocline.problems.object_detection.views import box_answer, box_texts, box_views
from thermocline.registry import find_metric
from thermocline.registry.metrics import Metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 24  # images in one figure


def _built(detector: Detector, config: ResolvedConfig, rows: int) -> Built:
    """Return a detector with its layers, and with what is chosen by it."""
    options = config.section("model.detector", DetectorOptions)
    config = choose_defaults(config, pretrained=detector.pretrained, rows=rows)
    notes = tuple(f"detector: {line}" for line in detector.notes)
    return Built(DetectionModel(detector), {}, layers_of(detector, options.head_includes), config, notes)


def _boxes_of(assembly: Assembly, results: Results) -> BoxResults:
    if "boxes" not in results.kept:
        least = assembly.config.section("model.detector", DetectorOptions).score_threshold
        results.kept["boxes"] = BoxResults.of(results, assembly.target.classes, float(least))
    boxes: BoxResults = results.kept["boxes"]
    return boxes


class ObjectDetection(Problem):
    """`object_detection`."""

    info = INFO

    # -- data

    def check_request(self, request: Request, config: ResolvedConfig) -> None:
        """Check arguments and options, and that the pretrained weights can be found."""
        check_arguments(request)
        if request.earlier is None:
            find_sources(config.section("model.detector", DetectorOptions))

    def read(self, data: object, reading: Reading) -> Labelled:
        """Read images, and boxes where they are needed."""
        return read_unlabelled(data, reading) if reading.purpose == "predict" else read_labelled(data, reading)

    def find_columns(self, found: Labelled, request: Request) -> Columns:
        """Return the column of images; all others are not used."""
        return image_columns(found, request)

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Nothing is left to check: see `check_request`."""

    def keep_usable(self, found: Labelled, columns: Columns, reading: Reading) -> Labelled:
        """Leave out images that cannot be read, and read the boxes."""
        del columns
        kept = usable(found, reading)
        if reading.purpose == "validate" and not with_boxes(kept.labels):
            raise LabelError(
                f"Label {reading.request.label!r} of {reading.what} holds no box in any row: nothing can be validated."
            )
        return kept

    def find_target(self, found: Labelled, request: Request) -> BoxTarget:
        """Return the classes of the boxes."""
        boxes: Boxes = found.labels
        if request.tuning_data is None:
            check_enough(boxes)
        metric = find_metric(INFO, request.eval_metric or INFO.default_metric["object_detection"], "object_detection")
        classes = boxes.classes()
        check_alike(classes, f"Label {boxes.label!r}")
        return BoxTarget(str(request.label), classes, metric.name, reason_of(boxes, classes))

    def describe_labels(self, found: Labelled, target: BoxTarget) -> str:
        """Return how many classes there are, with their names."""
        del found
        return f"boxes of {counted(len(target.classes), 'class', 'classes')}: {listing(target.classes, limit=8)}"

    def check_labels(self, found: Labelled, target: BoxTarget, *, what: str) -> None:
        """Check that there are no classes that training data do not have."""
        found.labels.encode(target.classes, what=what)

    def check_apart(self, train: Labelled, valid: Labelled, target: BoxTarget, columns: Columns) -> None:
        """Check that no picture has boxes in training data and others in tuning data; warn where it has the same."""
        del target, columns
        check_apart(train, valid)

    def split(
        self, found: Labelled, target: BoxTarget, fraction: float | None, *, seed: int
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Split images with boxes and those without alike."""
        del target
        return split_boxes(found.labels.labels, fraction, seed=seed, pictures=found.labels.pictures)

    def take(self, found: Labelled, rows: np.ndarray) -> Labelled:
        """Return some of the images, with their boxes where they have been read."""
        boxes: Boxes | None = found.labels
        return replace(found, frame=found.frame.iloc[rows], labels=None if boxes is None else boxes.take(rows))

    def describe_split(self, train: Labelled, valid: Labelled, reason: str) -> str:
        """Return the note that says how many images train and how many validate."""
        return split_note(len(train), len(valid), "image", reason)

    # -- model

    def build(
        self, train: Labelled, columns: Columns, target: BoxTarget, config: ResolvedConfig, *, seed: int
    ) -> Built:
        """Build the detector."""
        del seed
        options = config.section("model.detector", DetectorOptions)
        detector = detector_of(options, target.classes)
        cells = train.frame[columns.of("image")[0]].astype(object).tolist()
        detector.spec = replace(detector.spec, grey=grey_range(cells, train.folder))
        if options.size is None:
            config = config.choose("model.detector.size", detector.spec.size[0], "the detector's own")
        return _built(detector, config, len(train))

    def build_from(
        self,
        earlier: Earlier,
        train: Labelled,
        columns: Columns,
        target: BoxTarget,
        config: ResolvedConfig,
        *,
        seed: int,
    ) -> Built:
        """Build the detector with the weights of an earlier one; classes are matched by value."""
        del seed, columns
        config = options_as_before(earlier, config)
        detector, started, said = detector_from(earlier, target.classes)
        built = _built(detector, config, len(train))
        return replace(built, started=started, notes=(said, *built.notes))

    def rows(
        self, found: Labelled, assembly: Assembly, *, labelled: bool, training: bool = False, seed: int = 0
    ) -> Rows:
        """Turn a frame into images, with boxes where it is labelled."""
        detector, image = assembly.model.detector, assembly.columns.of("image")[0]
        if not training:
            check_images(found.frame, image, "data")
            cells = found.frame[image].astype(object).tolist()
            warn_of_outside(cells, found.folder, detector.spec.grey, image)
        part = DetectionRows.of(found.frame[image], found.folder, detector.spec)
        if labelled:
            part = part.with_boxes(found.labels, assembly.target.classes)
        if training:
            part = part.with_augmentation(assembly.config.section("model.detector", DetectorOptions).augment, seed)
        return Rows({TOWER: part})

    def learning(self, assembly: Assembly, train: Rows, *, seed: int) -> Learning:
        """Return the detector's own loss; it has no probe."""
        del train, seed
        started, said = assembly.built.started, "as built, before any step"
        said = said if started is None else f"as in {started.where!r}, before any step"
        return Learning(over_boxes(), start_note=said, also_score=("map", "map_50"))

    # -- results

    def collector(
        self,
        assembly: Assembly,
        rows: Rows,
        found: Labelled,
        *,
        scoring: bool,
        **options: Any,
    ) -> BoxCollector:
        """Return what collects boxes: all of them where they are scored, else those that `predict` returns."""
        model, classes = assembly.model, assembly.target.classes
        if scoring:
            return BoxCollector(model, classes, len(rows), truths=found.labels.truths(), most=MOST_BOXES)
        settings = assembly.config.section("model.detector", DetectorOptions)
        least = float(options.get("least_score", settings.score_threshold))
        return BoxCollector(model, classes, len(rows), least_score=least, most=settings.max_boxes)

    def predictions(self, outputs: list[Found], target: BoxTarget, index: pd.Index[Any]) -> pd.Series[Any]:
        """Return for each row a list of `{label, score, box}`, highest score first."""
        return pd.Series(outputs, index=index, name=target.label, dtype=object)

    def tell(self, assembly: Assembly, results: Results, metrics: Sequence[str | Metric]) -> Told:
        """Return average precision by class, kinds of errors, and precision and recall by score."""
        del metrics
        return told(_boxes_of(assembly, results))

    def redrawn(self, assembly: Assembly, results: Results, metrics: Sequence[str | Metric]) -> Redrawn | None:
        """Return how drawn images are scored."""
        del metrics
        return _boxes_of(assembly, results).redrawing.redrawn()

    def row_report(self, assembly: Assembly, results: Results) -> pd.DataFrame:
        """Return how many boxes of each image were found, missed and wrong."""
        return row_report(_boxes_of(assembly, results), results.found.frame.index)

    def check_probabilities(self, target: BoxTarget) -> None:
        """Raise: boxes have scores of their own."""
        del target
        raise ConfigError("A detector gives no probabilities of a row: the boxes of predict(data) have scores.")

    def features(self, assembly: Assembly) -> Any:
        """Raise: a detector has no features of a whole image."""
        del assembly
        raise ConfigError("A detector gives no features of an image; fit a classifier on the image column to embed.")

    def check_metric(self, asked: str | Metric, target: BoxTarget) -> str | Metric:
        """Return the canonical name of a metric; `per_class` is one here."""
        return asked if asked == PER_CLASS else super().check_metric(asked, target)

    def check_drawable(self, target: BoxTarget) -> None:
        """Boxes can be drawn."""

    def check_picture(self, found: Labelled, assembly: Assembly, **options: Any) -> None:
        """Check that there are some images, and not too many for a figure."""
        del assembly
        least_score = options["least_score"]
        if isinstance(least_score, bool) or not isinstance(least_score, int | float) or not 0 <= least_score <= 1:
            raise ConfigError(f"least_score is a number from 0 to 1, not {least_score!r}.")
        if not 0 < len(found) <= MOST_SHOWN:
            raise DataError(f"show draws 1 to {MOST_SHOWN} images, not {len(found)}: show(data.head()).")

    def picture(self, outputs: list[Found], found: Labelled, assembly: Assembly) -> Figure:
        """Draw the boxes on their images."""
        cells, grey = found.frame[assembly.columns.of("image")[0]], assembly.model.detector.spec.grey
        classes = assembly.target.classes
        pictures = [
            draw(open_image(cell, found.folder, grey), boxes, classes)
            for cell, boxes in zip(cells, outputs, strict=True)
        ]
        return show_grid(pictures, [str(name) for name in found.frame.index])

    # -- for a person to look at

    def views(
        self, found: Labelled, assembly: Assembly, rows: Rows, positions: np.ndarray, epoch: int | None
    ) -> list[list[View]]:
        """Return the images as the detector reads them, with boxes where the rows have some."""
        del found
        part: Any = rows.parts[TOWER]
        return box_views(assembly.columns.of("image")[0], part, assembly.target.classes, positions, epoch)

    def label_texts(self, found: Labelled, assembly: Assembly) -> list[str]:
        """Return how many boxes of each class an image has."""
        del assembly
        return box_texts(found.labels.truths())

    def answers(self, outputs: Any, found: Labelled, assembly: Assembly, *, labelled: bool) -> list[Answer]:
        """Return the boxes that are found, beside those of the labels, on their images."""
        cells, grey = found.frame[assembly.columns.of("image")[0]], assembly.model.detector.spec.grey
        truths = found.labels.truths() if labelled else [None] * len(found)
        return [
            box_answer(open_image(cell, found.folder, grey), boxes, true, assembly.target.classes)
            for cell, boxes, true in zip(cells, outputs, truths, strict=True)
        ]

    def check_importance(self, target: BoxTarget) -> None:
        """Raise: boxes are found in one column."""
        raise ConfigError(
            f"importance compares columns, and a predictor of {target.problem_type} reads one, its images: all of the "
            "score is lost without it. Use show_results to see which boxes are missed."
        )

    # -- a saved predictor

    def describe(self, assembly: Assembly, folder: Path) -> dict[str, Any]:
        """Return the description of the detector."""
        del folder
        return {TOWER: describe_detector(assembly.model.detector)}

    def read_target(self, described: Mapping[str, Any]) -> BoxTarget:
        """Return the target that was described."""
        return BoxTarget.from_dict(described)

    def rebuild(
        self,
        described: Mapping[str, Any],
        folder: Path,
        target: BoxTarget,
        config: ResolvedConfig,
        *,
        trust_remote_code: bool,
    ) -> tuple[DetectionModel, Mapping[str, Any]]:
        """Build the saved detector."""
        del folder, target, config, trust_remote_code
        return DetectionModel(rebuild_detector(checked_description(described[TOWER]))), {}

    # -- an export

    def write_preprocessing(self, assembly: Assembly, tower: str, folder: Path) -> None:
        """Write the image processor of transformers."""
        detector = assembly.model.towers[tower]
        write_processor(detector.spec, detector.origin.processor, folder)

    def export_form(self, assembly: Assembly, folder: Path) -> ExportForm:
        """Return the detector with scores of all classes and edges of boxes."""
        del folder
        return box_form(assembly)

    def with_outputs(self, assembly: Assembly, run: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Assembly:
        """Return an assembly whose raw outputs an exported model computes."""
        return with_outputs(assembly, run)
