"""A LayerMap from the caller's own patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from thermocline.errors import LayerMapError, did_you_mean, listing
from thermocline.tuning.layers.drafts import Detection, Draft
from thermocline.tuning.layers.families import clean_name, unwrap
from thermocline.tuning.layers.heads import Head, head_parameters
from thermocline.tuning.layers.mapping import finished, made_layers, named, shared_path
from thermocline.tuning.layers.patterns import compile_glob, prefixes

if TYPE_CHECKING:
    from thermocline.tuning.layers.layer_map import LayerMap


def map_from_patterns(
    model: nn.Module,
    patterns: Sequence[str | tuple[str, int]],
    *,
    head: Head,
    tower: str,
    pretrained: bool,
) -> LayerMap:
    """`LayerMap.from_patterns`."""
    if isinstance(patterns, str):
        raise LayerMapError(f"patterns must be a list, nearest the input first; got the text {patterns!r}.")
    core, path = unwrap(model)
    canonical, aliases = named(core)
    head_ids, source = head_parameters(core, head)
    groups: dict[str, list[str]] = {}
    taken: dict[str, str] = {}
    for entry in patterns:
        pattern, number = entry if isinstance(entry, tuple) else (entry, None)
        matched = _match_pattern(pattern, [n for n, p in canonical.items() if id(p) not in head_ids])
        if not matched:
            raise LayerMapError(
                f"The pattern {pattern!r} matches no parameter.{did_you_mean(pattern, _modules_of(canonical))}"
            )
        for key, names in sorted(matched.items(), key=lambda item: _numeric(item[0])):
            again = [n for n in names if n in taken]
            if again:
                raise LayerMapError(
                    f"The patterns {taken[again[0]]!r} and {pattern!r} both match {again[0]!r}: every "
                    "parameter belongs to one layer."
                )
            taken.update(dict.fromkeys(names, pattern))
            groups.setdefault(key if number is None else f"group.{number}", []).extend(names)
    left = [n for n, p in canonical.items() if n not in taken and id(p) not in head_ids]
    if left:
        raise LayerMapError(f"No pattern matches {listing(left)}. Every parameter needs a layer.")
    drafts = [Draft(key, "block", names, "caller") for key, names in groups.items()]
    if drafts:
        drafts[0].role = "stem"
    heads = [n for n, p in canonical.items() if id(p) in head_ids]
    if heads:
        drafts.append(Draft(shared_path(heads, canonical) or "head", "head", heads, source))
    found = Detection(drafts)
    layers = made_layers(
        core,
        canonical,
        found,
        tower=tower,
        pretrained=pretrained,
        fresh=frozenset(),
        fresh_head=head is not None,
    )
    return finished(layers, aliases, found, path, canonical, order="caller")


def _match_pattern(pattern: str, names: list[str]) -> dict[str, list[str]]:
    """Names by what the pattern matched of them: the module for a glob, the groups for an expression."""
    out: dict[str, list[str]] = {}
    if pattern.startswith("re:"):
        try:
            regex = re.compile(pattern[3:])
        except re.error as error:
            raise LayerMapError(f"{pattern!r} is no regular expression: {error}.") from None
        for name in names:
            match = regex.match(clean_name(name))
            if match:
                out.setdefault(match[0].strip(".") if match.groups() else pattern[3:], []).append(name)
        return out
    glob = compile_glob(pattern)
    for name in names:
        above = next((a for a in prefixes(clean_name(name)) if glob.fullmatch(a)), None)
        if above is not None:
            out.setdefault(above, []).append(name)
    return out


def _numeric(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _modules_of(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(above for name in names for above in prefixes(name)))
