"""Using a fitted detector: boxes, scores, pictures. No trainer is built and no file is written."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from thermocline import metrics as scoring
from thermocline.data.frames import check_columns, check_frame, check_names, read_frame
from thermocline.data.row_names import first_rows
from thermocline.errors import ConfigError, DataError, ImageReadError
from thermocline.pipeline.predict import precision_of
from thermocline.pipeline.prepare import image_root
from thermocline.problems.object_detection.assemble import AnyAssembly, DetectionAssembly
from thermocline.problems.object_detection.boxes import read_boxes
from thermocline.problems.object_detection.frames import read_detection
from thermocline.problems.object_detection.scoring import MOST_BOXES, scored
from thermocline.problems.object_detection.voc import is_voc
from thermocline.report.console import Console
from thermocline.training import inference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_CLASS = "per_class"
"""Asked for among metrics: `map` and `map_50` of each class."""
MOST_SHOWN = 24  # images in one figure

Found = list[dict[str, Any]]


def predict(assembly: DetectionAssembly, data: object, *, verbosity: int = 0) -> pd.Series[Any]:
    """Return for each row a list of `{label, score, box}`, the surest first.

    Raises:
        DataError: A column is missing, or an image cannot be read.
    """
    frame, folder = _images(assembly, data)
    options = assembly.config.model.detector
    found = _found(assembly, frame, folder, options.score_threshold, options.max_boxes, Console(verbosity))
    return pd.Series(found, index=frame.index, name=assembly.task.labels[0], dtype=object)


def proba(_assembly: DetectionAssembly, _data: object, **_options: Any) -> pd.DataFrame:
    """Refuse: boxes have scores of their own."""
    raise ConfigError("A detector gives no probabilities a row: the boxes of predict(data) have scores.")


def embed(_assembly: DetectionAssembly, _data: object, **_options: Any) -> np.ndarray:
    """Refuse: a detector has no features of a whole image."""
    raise ConfigError("A detector gives no features of an image; fit a classifier on the image column to embed.")


def evaluate(
    assembly: DetectionAssembly, data: object, names: str | Iterable[str] | None, *, verbosity: int = 0
) -> dict[str, float]:
    """Score boxes against those of a labelled frame, a COCO file or a Pascal VOC folder.

    Raises:
        ConfigError: A metric that does not exist or does not fit; before anything is computed.
        DataError: As `predict`; boxes that cannot be used, or of classes that training did not see.
    """
    asked = _asked(assembly, names)
    task, config = assembly.task, assembly.config
    own = config.data
    read = read_detection(data, task.labels[0], box_format=own.box_format, image=assembly.image, what="data")
    folder = image_root(config, read.folder)
    check_columns(read.frame, [assembly.image], what="data")
    if not len(read.frame):
        raise DataError("data is empty: there is nothing to score.")
    boxes = read_boxes(
        read.frame,
        task.labels[0],
        assembly.image,
        folder,
        box_format=read.box_format,
        bad_boxes=own.bad_boxes,
        what="data",
    )
    boxes.encode(task.classes, what="data")
    found = _found(assembly, read.frame, folder, 0.0, MOST_BOXES, Console(verbosity))
    scores = scored(boxes.truths(), found, task.classes)
    out: dict[str, float] = {}
    for name in asked:
        if name == PER_CLASS:
            for label, values in scores["per_class"].items():
                out |= {f"map/{label}": values["ap"], f"map_50/{label}": values["ap_50"]}
        else:
            out[name] = scores[scoring.get_metric(name).name]
    return out


def show(assembly: AnyAssembly, data: object, *, least_score: float = 0.3, verbosity: int = 0) -> Figure:
    """Draw the boxes that are found on their images.

    Args:
        assembly: The detector.
        data: As for `predict`, at most `MOST_SHOWN` rows.
        least_score: Boxes of a lower score are not drawn.
        verbosity: 0 says nothing.

    Raises:
        ConfigError: A score that is none, or no detector.
        DataError: As `predict`; no rows, or too many for a picture.
    """
    from thermocline.inputs.image.files import open_image
    from thermocline.problems.object_detection.drawing import draw, show_grid

    if not isinstance(assembly, DetectionAssembly):
        kind = assembly.task.problem_type
        raise ConfigError(f"show draws the boxes of object_detection, and this problem is {kind}. Use predict.")
    if isinstance(least_score, bool) or not isinstance(least_score, int | float) or not 0 <= least_score <= 1:
        raise ConfigError(f"least_score is a number from 0 to 1, not {least_score!r}.")
    frame, folder = _images(assembly, data)
    if not 0 < len(frame) <= MOST_SHOWN:
        raise DataError(f"show draws 1 to {MOST_SHOWN} images, not {len(frame)}: show(data.head()).")
    most = assembly.config.model.detector.max_boxes
    found = _found(assembly, frame, folder, float(least_score), most, Console(verbosity))
    pictures = [
        draw(open_image(cell, folder), boxes, assembly.task.classes)
        for cell, boxes in zip(frame[assembly.image], found, strict=True)
    ]
    return show_grid(pictures, [str(name) for name in frame.index])


def _asked(assembly: DetectionAssembly, names: str | Iterable[str] | None) -> list[str]:
    if names is not None and not isinstance(names, str | Iterable):
        raise ConfigError(f"metrics is a name or a list of names, not {names!r}.")
    kind = assembly.task.problem_type
    if names is None:
        return list(dict.fromkeys([*scoring.USUAL_METRICS[kind], assembly.task.eval_metric]))
    asked = [names] if isinstance(names, str) else list(names)
    for name in asked:
        if name != PER_CLASS:
            scoring.get_metric(name, kind)
    return asked


def _images(assembly: DetectionAssembly, data: object) -> tuple[pd.DataFrame, Path | None]:
    """Read a frame in which the label may be absent."""
    path = Path(data).expanduser() if isinstance(data, str | Path) else None
    if path is not None and (path.suffix.lower() == ".json" or is_voc(path)):
        read = read_detection(data, assembly.task.labels[0], image=assembly.image, what="data")
        return read.frame, image_root(assembly.config, read.folder)
    frame, folder = read_frame(data)
    check_names(frame, what="data")
    check_columns(frame, [assembly.image], what="data")
    if len(frame):
        check_frame(frame[[assembly.image]], what="data")
    return frame, image_root(assembly.config, folder)


def _found(
    assembly: DetectionAssembly,
    frame: pd.DataFrame,
    folder: Path | None,
    threshold: float,
    most: int,
    console: Console,
) -> list[Found]:
    """Find boxes in every row's image."""
    missing = frame[assembly.image].isna().to_numpy(dtype=bool)
    if missing.any():
        raise ImageReadError(
            f"Column {assembly.image!r} of data has no image in {int(missing.sum())} of {len(frame)} rows: "
            f"{first_rows(frame.index, missing)}. Drop these rows, or fill them in."
        )
    model = assembly.model
    device = next(model.parameters()).device
    size = assembly.config.env.eval_batch_size or 8
    found: list[Found] = [[] for _ in range(len(frame))]
    passes = inference.each(
        model,
        assembly.rows(frame, folder),
        batch_size=size,
        device=device,
        what=partial(model.find, threshold=threshold, most=most),
        autocast=precision_of(assembly.config, device),
        num_workers=assembly.config.env.num_workers if len(frame) > 8 * size else 0,
        progress=lambda batches, total: console.progress(batches, total, "predicting") if total > 50 else batches,
    )
    for positions, boxes in passes:
        for position, own in zip(positions.tolist(), boxes, strict=True):
            found[position] = own
    return found
