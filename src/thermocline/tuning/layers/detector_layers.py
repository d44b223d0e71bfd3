"""The layers of an object detector: found part by part, so that no layer lies in two, and put in running order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from thermocline.tuning.layers.by_structure import plain_stacks, stacks_of, within
from thermocline.tuning.layers.detector_parts import by_part, head_root
from thermocline.tuning.layers.drafts import Draft, Proposal, make_names_unique
from thermocline.tuning.layers.dry_run import Pass, forward_pass
from thermocline.tuning.layers.families import family_of
from thermocline.tuning.layers.heads import base_prefix
from thermocline.tuning.layers.module_names import common_module
from thermocline.tuning.layers.norms import is_norm_parameter
from thermocline.tuning.layers.placement import place_parameters
from thermocline.tuning.layers.repeated_blocks import Stack
from thermocline.tuning.layers.running_order import put_in_order

#: The name of a part's loose parameters where they share no module.
_LOOSE_NAMES = {"decoder": "queries"}


def find_detector_layers(model: nn.Module, parts: Mapping[str, str], head: set[int], example: Any) -> Proposal:
    """Return an object detector's layers, backbone first, the head left out.

    Args:
        model: The detector, out of its wrappers.
        parts: The part of each parameter.
        head: Ids of the parameters of the head and of added adapters, which are left out.
        example: As in `LayerMap.of`.
    """
    body = {name: p for name, p in model.named_parameters() if id(p) not in head}
    drafts = _drafts_by_part(model, parts, body)
    groups = {name: number for number, draft in enumerate(drafts) for name in draft.parameters}
    run = forward_pass(model, example, groups)
    found = Proposal(drafts)
    if run is not None and drafts:
        found = put_in_order(found, run, lambda name: is_norm_parameter(model, name))
    for draft in found.drafts:
        draft.part, draft.tower = draft.tower, ""
    without_image = set() if run is None else _without_image(drafts, run)
    for part in ("encoder", "decoder"):
        _gather_inputs(found.drafts, part, without_image)
    for draft in found.drafts:
        draft.role = _role(draft)
    _name_drafts(found.drafts, base_prefix(model))
    return found


def _drafts_by_part(model: nn.Module, parts: Mapping[str, str], body: dict[str, nn.Parameter]) -> list[Draft]:
    """Drafts part by part, as structure finds them; until they are in order each part is a tower."""
    stacks = stacks_of(model, body)
    family = family_of(model)
    drafts: list[Draft] = []
    for part, names in by_part(parts, body).items():
        own = {name: body[name] for name in names}
        mine = _of_part(stacks, part, own)
        if not mine and part != "neck":
            mine = _of_part(plain_stacks(model), part, own)
        made = place_parameters(model, own, mine, family) if mine else _by_modules(names)
        for draft in made:
            draft.tower = draft.part = part
        drafts.extend(made)
    return drafts


def _of_part(stacks: list[Stack], part: str, own: dict[str, nn.Parameter]) -> list[Stack]:
    """The stacks that lie in a part; those of encoder and decoder in a module of that name (others make queries)."""
    if part in ("encoder", "decoder"):
        stacks = [stack for stack in stacks if part in stack.path.split(".")]
    return [one for one in (within(stack, own) for stack in stacks) if one.blocks]


def head_drafts(model: nn.Module, names: list[str], source: str) -> list[Draft]:
    """Return one draft for each head; the copies of a head that decoder layers have are one layer."""
    prefix = base_prefix(model)
    roots: dict[str, list[str]] = {}
    for name in names:
        roots.setdefault(head_root(name, prefix), []).append(name)
    drafts = [Draft(root.rpartition(".")[2], "head", own, source, part="head") for root, own in roots.items()]
    make_names_unique(drafts)
    return drafts


def _by_modules(names: list[str]) -> list[Draft]:
    """A draft for each module one level below the module that all share; one for all where they share none."""
    shared = common_module(names)
    groups: dict[str, list[str]] = {}
    for name in names:
        rest = name.removeprefix(f"{shared}.") if shared else name
        inner = rest.split(".")[0] if "." in rest else ""
        groups.setdefault(".".join(one for one in (shared, inner) if one), []).append(name)
    if len(groups) > 1 and len({name.rpartition(".")[0] for name in names}) == 1:
        groups = {shared: names}
    return [Draft(root or own[0], "block", own, "structure") for root, own in groups.items()]


def _without_image(drafts: list[Draft], run: Pass) -> set[str]:
    """The parameters whose first use read nothing that the image backbone made."""
    backbone = sum(1 << number for number, draft in enumerate(drafts) if draft.part == "backbone")
    return {name for name, read in run.reads.items() if not read & backbone}


def _role(draft: Draft) -> str:
    if draft.part == "neck":
        return "neck"
    return "stem" if draft.part == "backbone" and draft.role == "stem" else "block"


def _gather_inputs(drafts: list[Draft], part: str, without_image: set[str]) -> None:
    """Put the inputs of a transformer (queries, reference points) into one layer before its blocks.

    Inputs that read nothing of the image belong to the first block. Parameters that lie inside the transformer's
    module and were placed after its blocks belong to the last block.
    """
    own = [draft for draft in drafts if draft.part == part]
    blocks = [draft for draft in own if draft.role == "block"]
    loose = [draft for draft in own if draft.role != "block"]
    if not blocks or not loose:
        return
    inputs = [n for draft in loose for n in draft.parameters if draft.role == "stem" or part not in n.split(".")]
    blocks[-1].parameters += [name for draft in loose for name in draft.parameters if name not in inputs]
    blocks[0].parameters += [name for name in inputs if name in without_image]
    inputs = [name for name in inputs if name not in without_image]
    at = drafts.index(own[0])
    drafts[:] = [draft for draft in drafts if draft not in loose]
    if inputs:
        drafts.insert(at, Draft(common_module(inputs), "stem", inputs, loose[0].source, part=part))


def _name_drafts(drafts: list[Draft], prefix: str) -> None:
    """Name drafts that are named after their role only, and make all names unique."""
    backbone = [draft for draft in drafts if draft.part == "backbone"]
    if backbone and not any(draft.role == "stem" for draft in backbone) and backbone[0].source == "children":
        backbone[0].role = "stem"
    for draft in drafts:
        shared = common_module(draft.parameters)
        if len(draft.parameters) == 1 and shared in ("", prefix):
            draft.name = draft.parameters[0]  # a parameter without a module of its own
        elif draft.name in ("stem", "neck", "", prefix) or not any(
            name.startswith(f"{draft.name}.") for name in draft.parameters
        ):
            loose = _LOOSE_NAMES.get(draft.part, draft.part if draft.part != "backbone" else "stem")
            draft.name = loose if shared in ("", prefix) or draft.part in shared.split(".") else shared
    make_names_unique(drafts)
