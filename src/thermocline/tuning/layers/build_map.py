"""The steps from a model to its partition into layers: head, drafts, names, adapters, layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from thermocline.errors import LayerMapError, listing
from thermocline.tuning.layers.adapter_drafts import added_adapters, insert_added_adapters, split_off_adapters
from thermocline.tuning.layers.detector_layers import head_drafts
from thermocline.tuning.layers.detector_parts import PARTS, built_frozen, notes_of, parts_of
from thermocline.tuning.layers.drafts import Draft, Proposal
from thermocline.tuning.layers.finding import find_layers
from thermocline.tuning.layers.finished_layers import WeightState, finished_layers, finished_partition, tower_name
from thermocline.tuning.layers.heads import Head, base_prefix, head_parameters
from thermocline.tuning.layers.module_names import exclusive_module
from thermocline.tuning.layers.named_model import NamedModel
from thermocline.tuning.layers.partition import Partition
from thermocline.tuning.layers.tower_order import tower_notes
from thermocline.tuning.layers.wrappers import clean_name


@dataclass(frozen=True)
class MapRequest:
    """What `LayerMap.of` takes besides the model; attributes are described there."""

    head: Head = None
    example: Any = None
    tower: str = "model"
    pretrained: bool = True
    fresh: frozenset[str] = frozenset()
    fresh_parts: frozenset[str] = frozenset()
    adapters: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Head:
    """The head's parameters: their ids, and how they were found."""

    ids: set[int]
    source: str


def build_map(model: nn.Module, request: MapRequest) -> Partition:
    """Return the layers of a model, as `LayerMap.of` describes."""
    core = NamedModel.of(model)
    parts = parts_of(core.model)
    _check_fresh_parts(request.fresh_parts, parts)
    added = [name for name in added_adapters(core.model) if name in core.parameters]
    head = _head(core, request.head, parts, added)
    if parts is not None:
        parts = _with_head(parts, core.parameters, head.ids)
    outside = head.ids | {id(core.parameters[name]) for name in added}
    found = find_layers(core.model, outside, request.example, parts)
    _add_head(found.drafts, core, head, is_detector=parts is not None)
    _name_stems_and_necks(found.drafts, core.parameters)
    if added:
        insert_added_adapters(found.drafts, added)
    if request.adapters:
        split_off_adapters(found.drafts, core.inner_names(request.adapters), core.parameters)
    _strip_prefix(found.drafts, base_prefix(core.model))
    frozen = built_frozen(core.model) if parts is not None else frozenset()
    weights = WeightState(
        request.pretrained,
        fresh=frozenset(core.inner_names(request.fresh)),
        fresh_head=request.head is not None,
        fresh_parts=request.fresh_parts,
        built_frozen=frozen,
    )
    layers = finished_layers(core, found.drafts, request.tower, weights)
    if _is_one_layer(found) and len(core.parameters) > 4:
        found.doubts.append("everything came out as one layer")
    made = finished_partition(core, layers, found.doubts, order="forward pass" if found.ordered else "definition")
    return replace(made, notes=_tower_notes(found, request.tower) if parts is None else notes_of(core.model, frozen))


def _tower_notes(found: Proposal, tower: str) -> tuple[str, ...]:
    return tower_notes(found, {draft.tower: tower_name(tower, draft.tower) for draft in found.drafts})


def _check_fresh_parts(fresh: frozenset[str], parts: Mapping[str, str] | None) -> None:
    """Raise unless these are parts of an object detector, and the model is one."""
    unknown = sorted(fresh.difference(PARTS))
    if unknown:
        raise LayerMapError(f"fresh_parts= names {listing(unknown)}; parts of a detector are {listing(PARTS)}.")
    if fresh and parts is None:
        raise LayerMapError("fresh_parts= is for detectors, and this model is not a known one; use fresh=.")


def _head(core: NamedModel, given: Head, parts: Mapping[str, str] | None, added: list[str]) -> _Head:
    """The head that the caller gave, or else that of the object detector's parts, or that the model declares."""
    if parts is None or given is not None:
        return _Head(*head_parameters(core.model, given))
    names = [name for name in core.parameters if parts[name] == "head" and name not in added]
    return _Head({id(core.parameters[name]) for name in names}, "detector")


def _with_head(parts: Mapping[str, str], parameters: Mapping[str, nn.Parameter], head: set[int]) -> dict[str, str]:
    """The parts with the head that was decided on; other heads count to the part that runs before them."""
    last = next((part for part in ("decoder", "neck") if part in parts.values()), "backbone")
    return {
        name: "head" if id(p) in head else last if parts[name] == "head" else parts[name]
        for name, p in parameters.items()
    }


def _add_head(drafts: list[Draft], core: NamedModel, head: _Head, *, is_detector: bool) -> None:
    names = core.names_of(head.ids)
    if names and is_detector:
        drafts.extend(head_drafts(core.model, names, head.source))
    elif names:
        drafts.append(Draft(exclusive_module(names, core.parameters) or "head", "head", names, head.source))


def _name_stems_and_necks(drafts: list[Draft], parameters: Mapping[str, nn.Parameter]) -> None:
    """Name stems and necks after the outermost module that they alone fill, where no other draft has that name."""
    for draft in drafts:
        if draft.role in ("stem", "neck") and not draft.tower and not draft.part:
            name = exclusive_module(draft.parameters, parameters)
            taken = any(other.name == name for other in drafts if other is not draft)
            draft.name = name if name and not taken else draft.name


def _strip_prefix(drafts: list[Draft], prefix: str) -> None:
    """Name layers as the base model does: `encoder.layer.3`, not `bert.encoder.layer.3`."""
    for draft in drafts:
        if prefix and draft.role != "head":
            draft.name = draft.name.removeprefix(f"{prefix}.")
            draft.tower = draft.tower.removeprefix(f"{prefix}.")
        draft.name = clean_name(draft.name)


def _is_one_layer(found: Proposal) -> bool:
    """Whether everything below the head came out as one layer, or nothing did; a head alone is none."""
    heads = any(draft.role == "head" for draft in found.drafts)
    return len(found.drafts) - heads <= 1 and not all(draft.role == "head" for draft in found.drafts)
