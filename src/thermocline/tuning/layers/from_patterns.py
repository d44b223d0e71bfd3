"""A partition from the caller's own patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

from thermocline.errors import LayerMapError, SelectorError, did_you_mean, listing
from thermocline.tuning.layers.drafts import Draft
from thermocline.tuning.layers.expressions import Expression
from thermocline.tuning.layers.finished_layers import WeightState, finished_layers, finished_partition
from thermocline.tuning.layers.heads import Head, head_parameters
from thermocline.tuning.layers.module_names import exclusive_module, prefixes
from thermocline.tuning.layers.named_model import NamedModel
from thermocline.tuning.layers.partition import Partition
from thermocline.tuning.layers.patterns import compile_glob
from thermocline.tuning.layers.wrappers import clean_name

#: A pattern, or a pattern with the number of the layer that all its matches make up.
Pattern = str | tuple[str, int]


def partition_from_patterns(
    model: nn.Module, patterns: Sequence[Pattern], *, head: Head, tower: str, pretrained: bool
) -> Partition:
    """Return the layers that patterns name, as `LayerMap.from_patterns` describes."""
    if isinstance(patterns, str):
        raise LayerMapError(f"patterns must be a list, nearest the input first; got the text {patterns!r}.")
    core = NamedModel.of(model)
    head_ids, source = head_parameters(core.model, head)
    heads = core.names_of(head_ids)
    below = [name for name in core.parameters if name not in set(heads)]
    groups = _grouped(below, patterns, core.parameters)
    drafts = [Draft(key, "block", names, "caller") for key, names in groups.items()]
    if drafts:
        drafts[0].role = "stem"
    if heads:
        drafts.append(Draft(exclusive_module(heads, core.parameters) or "head", "head", heads, source))
    layers = finished_layers(core, drafts, tower, WeightState(pretrained, fresh_head=head is not None))
    return finished_partition(core, layers, (), order="caller")


@dataclass
class _Groups:
    """Names by layer, and the pattern that matched each name."""

    layers: dict[str, list[str]] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)

    def add(self, layer: str, names: list[str], pattern: str) -> None:
        """Add names to a layer; none may be in another one."""
        again = next((name for name in names if name in self.taken), None)
        if again is not None:
            raise LayerMapError(
                f"The patterns {self.taken[again]!r} and {pattern!r} both match {again!r}: every parameter belongs to "
                "one layer."
            )
        self.taken.update(dict.fromkeys(names, pattern))
        self.layers.setdefault(layer, []).extend(names)


def _grouped(names: list[str], patterns: Sequence[Pattern], every: Iterable[str]) -> dict[str, list[str]]:
    """Parameter names by the layer that the patterns put them in, each in one.

    Args:
        names: The parameters below the head.
        patterns: The patterns.
        every: All parameters, for suggestions.
    """
    groups = _Groups()
    for entry in patterns:
        pattern, number = entry if isinstance(entry, tuple) else (entry, None)
        matched = _matched(pattern, names)
        if not matched:
            raise LayerMapError(
                f"The pattern {pattern!r} matches no parameter.{did_you_mean(pattern, _modules_of(every))}"
            )
        for key, own in sorted(matched.items(), key=lambda item: _numeric(item[0])):
            groups.add(key if number is None else f"group.{number}", own, pattern)
    left = [name for name in names if name not in groups.taken]
    if left:
        raise LayerMapError(f"No pattern matches {listing(left)}. Every parameter needs a layer.")
    return groups.layers


def _matched(pattern: str, names: list[str]) -> dict[str, list[str]]:
    """Names by what the pattern matched of them: the module for a glob, the groups for an expression."""
    out: dict[str, list[str]] = {}
    if pattern.startswith("re:"):
        try:
            regex = Expression(pattern[3:], pattern)
        except SelectorError as error:
            raise LayerMapError(str(error)) from None
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
    """A key that sorts names by the numbers in them."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _modules_of(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(above for name in names for above in prefixes(name)))
