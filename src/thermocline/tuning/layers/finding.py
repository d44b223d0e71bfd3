"""The layers of a model: what structure proposes, put in order by a forward pass and judged by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from thermocline.tuning.layers.by_structure import detect
from thermocline.tuning.layers.detector_layers import find_detector_layers
from thermocline.tuning.layers.drafts import Detection
from thermocline.tuning.layers.dry_run import forward_pass
from thermocline.tuning.layers.families import family_of
from thermocline.tuning.layers.repeated_blocks import is_norm
from thermocline.tuning.layers.running_order import put_in_order


def find_layers(model: nn.Module, head: set[int], example: Any, parts: Mapping[str, str] | None = None) -> Detection:
    """Return a model's layers in execution order, or, where no forward pass runs, in the order of definition.

    Args:
        model: The model, out of its wrappers.
        head: Ids of the parameters that are no part of the trunk.
        example: As in `LayerMap.of`.
        parts: The part of each parameter, where the model is a detector.
    """
    found = _best(model, head, example) if parts is None else find_detector_layers(model, parts, head, example)
    family = family_of(model)
    if family is not None and family.doubtful:
        found.doubts.append(family.reason)
    if (
        parts is None and found.drafts and found.drafts[0].source == "children"
    ):  # where children are the layers, the first is the stem
        found.drafts[0].role = "stem"
    return found


def _best(model: nn.Module, head: set[int], example: Any) -> Detection:
    found = detect(model, head)
    ordered = _in_order(model, found, example)
    if ordered is None:
        return found
    if not (ordered.doubts or ordered.merged):
        return ordered
    # what a matcher groups, structure may take apart
    candidates = [ordered, _in_order(model, detect(model, head, matcher=False), example)]
    return min((one for one in candidates if one is not None), key=_rank)


def _rank(found: Detection) -> tuple[bool, int, int]:
    blocks = sum(draft.role == "block" for draft in found.drafts)
    return bool(found.doubts) or blocks < 2, found.merged, -blocks


def _in_order(model: nn.Module, found: Detection, example: Any) -> Detection | None:
    run = forward_pass(model, example, {n: i for i, draft in enumerate(found.drafts) for n in draft.parameters})
    if run is None or not found.drafts:
        return None
    return put_in_order(found, run, lambda name: is_norm(model.get_submodule(name.rpartition(".")[0])))
