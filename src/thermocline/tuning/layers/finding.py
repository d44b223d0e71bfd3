"""The layers of a model: proposed by structure, put in order and judged by a forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from thermocline.tuning.layers.by_structure import find_by_structure
from thermocline.tuning.layers.detector_layers import find_detector_layers
from thermocline.tuning.layers.drafts import Proposal
from thermocline.tuning.layers.dry_run import Pass, forward_pass
from thermocline.tuning.layers.families import family_of
from thermocline.tuning.layers.norms import is_norm_parameter
from thermocline.tuning.layers.running_order import put_in_order
from thermocline.tuning.layers.tower_order import group_numbers, move_inputs_into_towers, run_towers_alone


def find_layers(model: nn.Module, head: set[int], example: Any, parts: Mapping[str, str] | None = None) -> Proposal:
    """Return a model's layers in execution order, or, where no forward pass runs, in the order of definition.

    Args:
        model: The model, out of its wrappers.
        head: Ids of the parameters of the head and of added adapters, which are left out.
        example: As in `LayerMap.of`.
        parts: The part of each parameter, where the model is an object detector.
    """
    found = _best(model, head, example) if parts is None else find_detector_layers(model, parts, head, example)
    family = family_of(model)
    if family is not None and family.doubtful:
        found.doubts.append(family.reason)
    if parts is None and found.drafts and found.drafts[0].source == "children":
        found.drafts[0].role = "stem"  # where children are the layers, the first is the stem
    return found


def _best(model: nn.Module, head: set[int], example: Any) -> Proposal:
    found = find_by_structure(model, head)
    ordered = _in_order(model, found, example)
    if ordered is None:
        return found
    if not (ordered.doubts or ordered.merged):
        return ordered
    # what a matcher groups, structure may split
    candidates = [ordered, _in_order(model, find_by_structure(model, head, matcher=False), example)]
    return min((one for one in candidates if one is not None), key=_rank)


def _rank(found: Proposal) -> tuple[bool, int, int]:
    """A key that sorts the better proposal first: without doubts, with fewer merged and more blocks."""
    blocks = sum(draft.role == "block" for draft in found.drafts)
    return bool(found.doubts) or blocks < 2, found.merged, -blocks


def _in_order(model: nn.Module, found: Proposal, example: Any) -> Proposal | None:
    groups = group_numbers(found.drafts)
    run = forward_pass(model, example, groups) or Pass(groups=groups)
    run_towers_alone(model, found.drafts, run)
    if not run.first:
        return None
    move_inputs_into_towers(model, found.drafts, run)
    return put_in_order(found, run, lambda name: is_norm_parameter(model, name))
