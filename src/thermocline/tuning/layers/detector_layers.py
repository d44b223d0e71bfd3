"""The layers of a detector: found part by part, so that no layer lies in two of them, and put in running order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from thermocline.tuning.layers.by_structure import assign, plain_stacks, stacks_of, within
from thermocline.tuning.layers.detector_parts import by_part, head_root
from thermocline.tuning.layers.drafts import Detection, Draft, common_name, unique_names
from thermocline.tuning.layers.dry_run import Pass, forward_pass
from thermocline.tuning.layers.families import family_of
from thermocline.tuning.layers.heads import base_prefix
from thermocline.tuning.layers.repeated_blocks import Stack, is_norm
from thermocline.tuning.layers.running_order import put_in_order

#: What a part's loose parameters are called where they share no module.
_LOOSE = {"decoder": "queries"}


def find_detector_layers(model: nn.Module, parts: Mapping[str, str], head: set[int], example: Any) -> Detection:
    """Return a detector's layers, backbone first, the head left out.

    Args:
        model: The detector, out of its wrappers.
        parts: The part of each parameter.
        head: Ids of the parameters that are no part of the trunk.
        example: As in `LayerMap.of`.
    """
    body = {name: p for name, p in model.named_parameters() if id(p) not in head}
    stacks = stacks_of(model, body)
    family = family_of(model)
    drafts: list[Draft] = []
    for part, names in by_part(parts, body).items():
        own = {name: body[name] for name in names}
        mine = _of_part(stacks, part, own)
        if not mine and part != "neck":
            mine = _of_part(plain_stacks(model), part, own)
        made = assign(model, own, mine, family) if mine else _modules(names)
        for draft in made:
            draft.tower = draft.part = part
        drafts.extend(made)
    groups = {name: number for number, draft in enumerate(drafts) for name in draft.parameters}
    run = forward_pass(model, example, groups)
    found = Detection(drafts)
    if run is not None and drafts:
        found = put_in_order(found, run, lambda name: is_norm(model.get_submodule(name.rpartition(".")[0])))
    for draft in found.drafts:
        draft.part, draft.tower = draft.tower, ""
    for part in ("encoder", "decoder"):
        _gather(found.drafts, part, set() if run is None else _apart(drafts, run))
    for draft in found.drafts:
        draft.role = _role(draft)
    _name(found.drafts, base_prefix(model))
    return found


def _of_part(stacks: list[Stack], part: str, own: dict[str, nn.Parameter]) -> list[Stack]:
    """The stacks that lie in a part. The transformer's lie in a module called so: what makes queries is no block."""
    if part in ("encoder", "decoder"):
        stacks = [stack for stack in stacks if part in stack.path.split(".")]
    return [one for one in (within(stack, own) for stack in stacks) if one.blocks]


def head_drafts(model: nn.Module, names: list[str], source: str) -> list[Draft]:
    """Return one draft for each head: the copies that each decoder layer has are one layer."""
    prefix = base_prefix(model)
    roots: dict[str, list[str]] = {}
    for name in names:
        roots.setdefault(head_root(name, prefix), []).append(name)
    drafts = [Draft(root.rpartition(".")[2], "head", own, source, part="head") for root, own in roots.items()]
    unique_names(drafts)
    return drafts


def _modules(names: list[str]) -> list[Draft]:
    """A draft for each module one level below what they share; one for all where they share nothing."""
    shared = common_name(names)
    groups: dict[str, list[str]] = {}
    for name in names:
        rest = name.removeprefix(f"{shared}.") if shared else name
        inner = rest.split(".")[0] if "." in rest else ""
        groups.setdefault(".".join(one for one in (shared, inner) if one), []).append(name)
    if len(groups) > 1 and len({name.rpartition(".")[0] for name in names}) == 1:
        groups = {shared: names}
    return [Draft(root or own[0], "block", own, "structure") for root, own in groups.items()]


def _apart(drafts: list[Draft], run: Pass) -> set[str]:
    """What had taken in nothing of the image backbone's when it was first used."""
    backbone = sum(1 << number for number, draft in enumerate(drafts) if draft.part == "backbone")
    return {name for name, read in run.reads.items() if not read & backbone}


def _role(draft: Draft) -> str:
    if draft.part == "neck":
        return "neck"
    return "stem" if draft.part == "backbone" and draft.role == "stem" else "block"


def _gather(drafts: list[Draft], part: str, learned: set[str]) -> None:
    """Put what a transformer is fed with (queries, reference points) into one layer ahead of its blocks.

    What is `learned` alone and has seen nothing of the image until the first block uses it goes with that block, and
    what stands inside the transformer and was placed behind its blocks with the last of them.
    """
    own = [draft for draft in drafts if draft.part == part]
    blocks = [draft for draft in own if draft.role == "block"]
    loose = [draft for draft in own if draft.role != "block"]
    if not blocks or not loose:
        return
    fed = [name for draft in loose for name in draft.parameters if draft.role == "stem" or part not in name.split(".")]
    blocks[-1].parameters += [name for draft in loose for name in draft.parameters if name not in fed]
    blocks[0].parameters += [name for name in fed if name in learned]
    fed = [name for name in fed if name not in learned]
    at = drafts.index(own[0])
    drafts[:] = [draft for draft in drafts if draft not in loose]
    if fed:
        drafts.insert(at, Draft(common_name(fed), "stem", fed, loose[0].source, part=part))


def _name(drafts: list[Draft], prefix: str) -> None:
    """Name what has only a role for a name, and give each a name of its own."""
    backbone = [draft for draft in drafts if draft.part == "backbone"]
    if backbone and not any(draft.role == "stem" for draft in backbone) and backbone[0].source == "children":
        backbone[0].role = "stem"
    for draft in drafts:
        shared = common_name(draft.parameters)
        if len(draft.parameters) == 1 and shared in ("", prefix):
            draft.name = draft.parameters[0]  # a parameter without a module of its own
        elif draft.name in ("stem", "neck", "", prefix) or not any(
            name.startswith(f"{draft.name}.") for name in draft.parameters
        ):
            loose = _LOOSE.get(draft.part, draft.part if draft.part != "backbone" else "stem")
            draft.name = loose if shared in ("", prefix) or draft.part in shared.split(".") else shared
    unique_names(drafts)
