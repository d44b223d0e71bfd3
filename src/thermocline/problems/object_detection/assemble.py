"""From checked boxes and a configuration to a detector, its layers and its plan: everything before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from thermocline.backbones import pretrained as checkpoints
from thermocline.config import ResolvedConfig
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns
from thermocline.errors import CheckpointError
from thermocline.pipeline.assemble import Assembly, make_plan
from thermocline.pipeline.run_length import fitted_to_run, read_phases, with_phases
from thermocline.problems.object_detection.boxes import Boxes
from thermocline.problems.object_detection.detector import Detector
from thermocline.problems.object_detection.detector_build import DetectorSettings, build_detector
from thermocline.problems.object_detection.detector_source import find_detector
from thermocline.problems.object_detection.model import TOWER, DetectionModel
from thermocline.problems.object_detection.rows import DetectionRows
from thermocline.problems.rowwise.defaults import choose_detector_rates
from thermocline.problems.rowwise.task import Task
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan


@dataclass
class DetectionAssembly:
    """A detector ready to train or to predict, with all it takes to use it; the fields are those of `Assembly`."""

    task: Task
    columns: Columns
    config: ResolvedConfig
    model: DetectionModel
    layer_map: LayerMap
    plan: LayerPlan
    notes: tuple[str, ...] = ()
    weight: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image(self) -> str:
        """The column of images."""
        return self.columns.of("image")[0]

    def rows(
        self,
        frame: pd.DataFrame,
        folder: Path | None,
        *,
        boxes: Boxes | None = None,
        training: bool = False,
        seed: int = 0,
    ) -> Rows:
        """Turn a frame into rows.

        Args:
            frame: The frame.
            folder: Where relative image paths start.
            boxes: Its boxes; None at prediction.
            training: Whether images are varied.
            seed: The run's seed.
        """
        part = DetectionRows.of(
            frame[self.image],
            folder,
            self.model.detector.spec,
            boxes=boxes,
            classes=self.task.classes,
            augment=self.config.model.detector.augment if training else None,
            seed=seed,
        )
        return Rows({TOWER: part})


AnyAssembly = Assembly | DetectionAssembly


def find_sources(config: ResolvedConfig) -> tuple[checkpoints.Source, checkpoints.Source | None]:
    """Find the detector, and the backbone to put under it; nothing is loaded.

    Raises:
        CheckpointError: There is no such detector or backbone.
    """
    options = config.model.detector
    try:
        source = find_detector(options.checkpoint, pretrained=options.pretrained)
    except CheckpointError as error:
        raise CheckpointError(f"model.detector.checkpoint: {error}") from error
    if options.backbone is None:
        return source, None
    try:
        return source, checkpoints.find_image(options.backbone, pretrained=options.backbone_pretrained)
    except CheckpointError as error:
        raise CheckpointError(f"model.detector.backbone: {error}") from error


def assemble_detector(
    columns: Columns, task: Task, config: ResolvedConfig, *, rows: int, seed: int
) -> DetectionAssembly:
    """Build detector, layer map and plan.

    Args:
        columns: The columns; one is of images.
        task: The task, with the classes.
        config: The configuration; what is left open in it is chosen here, with the reason.
        rows: Training images.
        seed: Of the random weights.

    Raises:
        CheckpointError: A checkpoint cannot be loaded.
        SelectorError: `frozen_layers` matches nothing, or everything.
        ConfigError: The detector does not run at this size, or an option does not fit it.
    """
    phases = read_phases(config)  # faults in them show before anything is loaded
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = _built(config, task.classes)
    if config.model.detector.size is None:
        config = config.choose("model.detector.size", detector.spec.size[0], "the detector's own")
    config = choose_detector_rates(config, pretrained=detector.pretrained, rows=rows)
    layer_map = detector_layers(detector, config.model.detector.head_includes)
    plan = with_phases(make_plan(layer_map, config), config, phases, rows)
    plan, config = fitted_to_run(plan, config, rows)
    notes = tuple(f"detector: {line}" for line in detector.notes)
    return DetectionAssembly(task, columns, config, DetectionModel(detector), layer_map, plan, notes)


def detector_layers(detector: Detector, head_includes: Sequence[str]) -> LayerMap:
    """Return the layers of a detector, backbone first.

    Args:
        detector: The detector.
        head_includes: The parts that count as newly initialised.
    """
    found = LayerMap.of(
        detector.model,
        tower=TOWER,
        pretrained=detector.pretrained,
        fresh=detector.fresh,
        fresh_parts=head_includes,
    )
    return LayerMap.join({f"towers.{TOWER}.model": found})


def _built(config: ResolvedConfig, classes: Sequence[Any]) -> Detector:
    source, under = find_sources(config)
    options = config.model.detector
    return build_detector(
        source,
        checkpoints.folder_of(source, "model.detector"),
        classes,
        DetectorSettings(size=options.size, queries=options.queries, thaw=options.thaw),
        backbone=under,
        backbone_folder=None if under is None else checkpoints.folder_of(under, "model.detector.backbone"),
    )
