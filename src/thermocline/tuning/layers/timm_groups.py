"""Layers of timm models by their own `group_matcher`, stages split into blocks by structure."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any

from torch import nn

from thermocline.tuning.layers.drafts import Draft, Proposal, make_names_unique
from thermocline.tuning.layers.families import EMBEDDING_LIKE, Family
from thermocline.tuning.layers.module_names import common_module, prefixes
from thermocline.tuning.layers.repeated_blocks import find_stacks, split_stage
from thermocline.tuning.layers.wrappers import clean_name

_PREVIOUS_GROUP = 99999.0  # timm: "belongs to the group before"


def by_group_matcher(model: nn.Module, body: dict[str, nn.Parameter], family: Family | None) -> Proposal | None:
    """Return the layers that timm's matcher gives, or None where it gives none that can be used.

    Args:
        model: The model, out of its wrappers.
        body: Its parameters without the head's.
        family: Its row in the table of exceptions.
    """
    try:
        matcher: Any = model.group_matcher(coarse=False)  # type: ignore[operator]
        groups = _group(list(body), matcher)
    except Exception:  # rdnet and others raise from inside: structure then decides
        return None
    rest = groups.pop((float("inf"),), [])
    roles = list(matcher) if isinstance(matcher, dict) else ["stem"]
    drafts: list[Draft] = []
    for key in sorted(groups):
        if key[-1] == _PREVIOUS_GROUP and drafts:
            drafts[-1].parameters.extend(groups[key])
            continue
        role = "stem" if int(key[0]) < len(roles) and roles[int(key[0])] == "stem" else "block"
        drafts.extend(_timm_drafts(model, groups[key], list(body), role, family))
    if rest and drafts:
        late = [name for name in rest if EMBEDDING_LIKE.search(name)]
        drafts[0].parameters.extend(late)
        neck = [name for name in rest if name not in late]
        if neck:
            drafts.append(Draft(common_module(neck) or "neck", "neck", neck, "group_matcher"))
    if sum(draft.role == "block" for draft in drafts) < 2:
        return None
    _merge_stems(drafts)
    drafts[:1] = _split_stem(model, drafts[0])
    make_names_unique(drafts)
    return Proposal(drafts)


def _group(names: list[str], matcher: Any) -> dict[tuple[float, ...], list[str]]:
    """timm's `group_with_matcher`, without changing the model."""
    if callable(matcher):
        return _by_call(names, matcher)
    rules: list[tuple[re.Pattern[str], tuple[int, ...], Any]] = []
    for ordinal, spec in enumerate(matcher.values()):
        if isinstance(spec, (list, tuple)):
            rules.extend((re.compile(pattern), (ordinal,), suffix) for pattern, suffix in spec)
        elif spec is not None:
            rules.append((re.compile(spec), (ordinal,), None))
    groups: dict[tuple[float, ...], list[str]] = {}
    for name in names:
        key: tuple[float, ...] = (float("inf"),)
        for regex, prefix, suffix in rules:
            match = regex.match(clean_name(name))
            if match:
                parts = [prefix, tuple(g for g in match.groups() if g is not None), suffix]
                key = tuple(float(part) for part in chain.from_iterable(part for part in parts if part))
                break
        groups.setdefault(key, []).append(name)
    return groups


def _timm_drafts(model: nn.Module, names: list[str], body: list[str], role: str, family: Family | None) -> list[Draft]:
    """One draft for a group, or one per block where the group is a whole stage."""
    path = common_module(names)
    whole = bool(path) and all(n in set(names) for n in body if n.startswith(f"{path}."))
    if path and not whole:
        path = _main_module(names, body) or path
    if whole and role == "block" and not (family and family.whole_stages):
        stage = model.get_submodule(path)
        blocks = split_stage([(path, stage)], primary=path.rpartition(".")[0], deepest=1)
        if len(blocks) > 1:
            wanted = set(names)
            drafts = [
                Draft(block.name, role, [n for n in block.parameters if n in wanted], "group_matcher+structure")
                for block in blocks
            ]
            return [draft for draft in drafts if draft.parameters]
    name = "stem" if role == "stem" and not path else path or names[0].rpartition(".")[0] or names[0]
    return [Draft(name, role, list(names), "group_matcher")]


def _merge_stems(drafts: list[Draft]) -> None:
    """Merge the drafts of the stem into one, and put it first."""
    stems = [draft for draft in drafts if draft.role == "stem"]
    for extra in stems[1:]:
        stems[0].parameters.extend(extra.parameters)
        drafts.remove(extra)
    if len(stems) > 1:
        stems[0].name = "stem"
    if stems:
        drafts.remove(stems[0])
        drafts.insert(0, stems[0])


def _split_stem(model: nn.Module, stem: Draft) -> list[Draft]:
    """Split a stem that is a network of its own (a hybrid's convolutional part) into its blocks and the rest."""
    path = common_module(stem.parameters)
    if stem.role != "stem":
        return [stem]
    left = list(stem.parameters)
    blocks: list[Draft] = []
    for top in dict.fromkeys(name.split(".")[0] for name in left if "." in name and not path):
        blocks.extend(_blocks_in(model, top, left))
    if path:
        blocks.extend(_blocks_in(model, path, left))
    if len(blocks) < 2:
        return [stem]
    held = {name for block in blocks for name in block.parameters}
    rest = Draft("stem", "stem", [name for name in left if name not in held], stem.source)
    return [rest, *blocks] if rest.parameters else blocks


def _blocks_in(model: nn.Module, path: str, names: list[str]) -> list[Draft]:
    own = set(names)
    return [
        Draft(block.name, "block", [name for name in block.parameters if name in own], "group_matcher+structure")
        for stack in find_stacks(model.get_submodule(path), path)
        for block in stack.blocks
        if own.issuperset(block.parameters)
    ]


def _by_call(names: list[str], matcher: Callable[[str], Any]) -> dict[tuple[float, ...], list[str]]:
    """Groups of the few models whose matcher is a function of the name."""
    groups: dict[tuple[float, ...], list[str]] = {}
    for name in names:
        place = matcher(clean_name(name))
        key = tuple(float(part) for part in place) if isinstance(place, (tuple, list)) else (float(place),)
        groups.setdefault(key, []).append(name)
    return groups


def _main_module(names: list[str], body: list[str]) -> str:
    """The module that holds most of a group's parameters and none of another group's."""
    wanted, best, most = set(names), "", 0
    for above in dict.fromkeys(a for name in names for a in prefixes(name)[:-1]):
        own = {n for n in body if n.startswith(f"{above}.")}
        if own <= wanted and len(own) > most:
            best, most = above, len(own)
    return best
