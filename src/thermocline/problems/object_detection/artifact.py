"""A fitted detector in a predictor's folder: what it is built of as JSON; its weights are saved with the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thermocline.config import ResolvedConfig
from thermocline.data.columns import Columns
from thermocline.problems.object_detection.assemble import DetectionAssembly
from thermocline.problems.object_detection.detector_build import describe_detector, rebuild_detector
from thermocline.problems.object_detection.model import TOWER, DetectionModel
from thermocline.problems.rowwise.task import Task
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan


def towers_of(assembly: DetectionAssembly) -> dict[str, Any]:
    """Return what `towers.json` says of a detector."""
    return {TOWER: describe_detector(assembly.model.detector)}


def read_detector(
    data: Mapping[str, Any],
    task: Task,
    columns: Columns,
    config: ResolvedConfig,
    layer_map: LayerMap,
    plan: LayerPlan,
    facts: Mapping[str, Any],
) -> DetectionAssembly:
    """Build a saved detector; the weights are loaded by the caller.

    Args:
        data: What `towers.json` holds.
        task: The task.
        columns: The columns.
        config: The configuration.
        layer_map: The layers.
        plan: The plan.
        facts: What made the run.

    Raises:
        ValueError: It names a file or code to load.
    """
    _check_closed(data[TOWER])
    model = DetectionModel(rebuild_detector(data[TOWER]))
    return DetectionAssembly(task, columns, config, model, layer_map, plan, tuple(data["notes"]), facts=facts)


def _check_closed(described: Mapping[str, Any]) -> None:
    """Raise unless a description names what transformers and timm build by themselves."""
    from timm import is_model
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES as KNOWN

    kind, timm = described["config"]["model_type"], described["timm"]
    if kind not in KNOWN or "auto_map" in described["config"]:
        raise ValueError(f"towers.json: {kind!r} is no detector that this transformers builds by itself")
    if timm is not None and not is_model(timm["architecture"]):
        raise ValueError(f"towers.json: {timm['architecture']!r} is no model that this timm builds by itself")
